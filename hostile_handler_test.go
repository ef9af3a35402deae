package chime_test

import (
	"strings"
	"testing"

	"github.com/go-chime/chime"
)

// Handlers that panic, block, or say too much.

func TestHandlerThatPanicsEndsItsJoinOnly(t *testing.T) {
	s := newSite(t)
	w := s.witness(t)
	for _, dialect := range []string{"phoenix", "chime"} {
		for _, event := range []string{"boom", "mine"} {
			t.Run(dialect+"/"+event, func(t *testing.T) {
				ws := s.speaking(t, dialect).join("hall:1", "attacker").join("hall:2", "bystander")
				ws.text(`["1","5","hall:1","` + event + `",{}]`)
				ws.want(`["1","1","hall:1","phx_error",{"reason":"channel_crash"}]`)
				s.hall.wantLeft(t, departure{"hall:1", "attacker", "panicked"})
				ws.text(`["1","6","hall:2","echo",{"n":1}]`)
				ws.want(`["1","6","hall:2","phx_reply",{"status":"ok","response":{"n":1}}]`)
				w.isWell()
				ws.join("hall:1", "attacker")
				w.isWell()
				ws.want(tick(w.n))
				_ = ws.conn.Close()
				s.hall.wantAllLeft(t, departure{"hall:1", "attacker", "gone"}, departure{"hall:2", "bystander", "gone"})
			})
		}
	}
	s.hall.wantNobodyLeft(t)
}

func TestErrorOfAHandlerTellsOnlyWhatTheApplicationSaid(t *testing.T) {
	s := newSite(t)
	w := s.witness(t)
	ws := s.phoenix(t).join("hall:1", "attacker")
	for event, reason := range map[string]string{
		"fail":      "internal",
		"no json":   "internal",
		"typed nil": "internal",
		"refuse":    "not today", // wrapped in an error that has a secret
	} {
		ws.text(`["1","2","hall:1","` + event + `",{}]`)
		ws.want(`["1","2","hall:1","phx_reply",{"status":"error","response":{"reason":"` + reason + `"}}]`)
		w.isWell()
		ws.want(tick(w.n))
	}
	// A payload that can't be rebroadcast, since it is no object.
	ws.text(`["1","3","hall:1","say",[1]]`)
	ws.want(`["1","3","hall:1","phx_reply",{"status":"error","response":{"reason":"payload is not an object"}}]`)
	w.isWell()
}

// TestErrorThatNobodyIsToldOfIsLogged: of a message without a ref, and of all
// that an Amber client sends, the log is the only witness.
func TestErrorThatNobodyIsToldOfIsLogged(t *testing.T) {
	for name, send := range map[string]func(*testing.T, *rawSite, string){
		"phoenix": func(t *testing.T, s *rawSite, event string) {
			ws := s.phoenix(t).join("hall:1", "attacker")
			ws.text(`["1",null,"hall:1","` + event + `",{}]`)
			ws.text(`["1","2","hall:1","echo",{}]`)
			ws.want(`["1","2","hall:1","phx_reply",{"status":"ok","response":{}}]`) // and nothing before it
		},
		"amber": func(t *testing.T, s *rawSite, event string) {
			ws := s.amber(t, "attacker")
			ws.text(`{"event":"message","topic":"hall:1","subject":"` + event + `"}`)
			ws.text(`{"event":"message","topic":"hall:1","subject":"say"}`)
			ws.want(`{"event":"message","topic":"hall:1","subject":"say","payload":{}}`)
		},
	} {
		for event, log := range map[string]string{
			"fail":      `"level":"ERROR","msg":"message failed","topic":"hall:1","event":"fail"`,
			"phx_reply": `"level":"DEBUG","msg":"frame refused","reason":"invalid event","topic":"hall:1","event":"phx_reply"`,
		} {
			t.Run(name+"/"+event, func(t *testing.T) {
				s := newSite(t)
				send(t, s, event)
				if got := s.logs.String(); !strings.Contains(got, log) {
					t.Errorf("logged %s, want %s", clip(got), log)
				}
			})
		}
	}
}

func TestHandlerThatBlocksHoldsUpItsTopicOfItsClientOnly(t *testing.T) {
	s := newSite(t)
	w := s.witness(t)
	ws := s.phoenix(t).join("hall:1", "attacker").join("hall:2", "bystander")
	ws.text(`["1","3","hall:1","block",{}]`)
	s.hall.wantBegun(t, "attacker")
	ws.text(`["1","4","hall:1","echo",{"n":1}]`)
	ws.text(`["1","5","hall:2","echo",{"n":2}]`)
	ws.want(`["1","5","hall:2","phx_reply",{"status":"ok","response":{"n":2}}]`)
	w.isWell()
	ws.want(tick(w.n)) // it blocks what it does, not what it hears
	close(s.hall.release)
	ws.want(`["1","3","hall:1","phx_reply",{"status":"ok","response":{}}]`, `["1","4","hall:1","phx_reply",{"status":"ok","response":{"n":1}}]`)
}

func TestFullInboxEndsItsJoinOnly(t *testing.T) {
	for name, flood := range map[string]struct {
		limits chime.Limits
		frame  string
		n      int
	}{
		"by messages":            {chime.Limits{InboxMessages: 8}, `["1","4","hall:1","echo",{}]`, 20},
		"by bytes of payloads":   {chime.Limits{QueueBytes: 10_000}, `["1","4","hall:1","echo","` + strings.Repeat("x", 3000) + `"]`, 6},
		"by bytes of event":      {chime.Limits{QueueBytes: 10_000}, `["1","4","hall:1","` + strings.Repeat("x", 3000) + `",{}]`, 6},
		"by bytes of references": {chime.Limits{QueueBytes: 2_000}, `["1","` + strings.Repeat("4", 255) + `","hall:1","echo",{}]`, 12},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, chime.WithLimits(flood.limits))
			w := s.witness(t)
			ws := s.phoenix(t).join("hall:1", "attacker").join("hall:2", "bystander")
			ws.text(`["1","3","hall:1","block",{}]`)
			s.hall.wantBegun(t, "attacker")
			for range flood.n {
				ws.text(flood.frame)
			}
			got := ws.next()
			if strings.HasPrefix(got, `["1","3","hall:1","phx_reply"`) {
				got = ws.next() // of the handler, which is cancelled a moment before
			}
			if want := `["1","1","hall:1","phx_error",{"reason":"overloaded"}]`; got != want {
				t.Fatalf("got %s, want %s", clip(got), want)
			}
			s.hall.wantLeft(t, departure{"hall:1", "attacker", "slow"})
			ws.text(`["1","5","hall:2","echo",{"n":2}]`)
			for { // what came too late is answered before
				if got := ws.next(); got == `["1","5","hall:2","phx_reply",{"status":"ok","response":{"n":2}}]` {
					break
				} else if !strings.Contains(got, `"hall:1","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`) &&
					!strings.Contains(got, `"hall:1","phx_reply",{"status":"error","response":{"reason":"overloaded"}}]`) {
					t.Fatalf("got %s, want a reply", clip(got))
				}
			}
			w.isWell()
		})
	}
}

// The frame that finds no room ends the join. A client waits for the answer to a
// leave or a join all the same.
func TestWhatFindsAFullInboxIsAnswered(t *testing.T) {
	for name, last := range map[string][2]string{
		"leave": {`["1","9","hall:1","phx_leave",{}]`, `["1","9","hall:1","phx_reply",{"status":"ok","response":{}}]`},
		"join":  {`["9","9","hall:1","phx_join",{"as":"attacker"}]`, `["9","9","hall:1","phx_reply",{"status":"error","response":{"reason":"overloaded"}}]`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, chime.WithLimits(chime.Limits{InboxMessages: 3}))
			w := s.witness(t)
			ws := s.phoenix(t).join("hall:1", "attacker")
			ws.text(`["1","3","hall:1","block",{}]`)
			s.hall.wantBegun(t, "attacker")
			for range 3 {
				ws.text(`["1",null,"hall:1","nothing",{}]`)
			}
			ws.text(last[0])
			got := ws.next()
			if strings.HasPrefix(got, `["1","3","hall:1","phx_reply"`) {
				got = ws.next() // of the handler, which is cancelled a moment before
			}
			if want := `["1","1","hall:1","phx_error",{"reason":"overloaded"}]`; got != want {
				t.Fatalf("got %s, want %s", clip(got), want)
			}
			if got = ws.next(); strings.HasPrefix(got, `["1","3","hall:1","phx_reply"`) {
				got = ws.next() // or behind it
			}
			if got != last[1] {
				t.Errorf("got %s, want %s", clip(got), last[1])
			}
			s.hall.wantLeft(t, departure{"hall:1", "attacker", "slow"})
			w.isWell()
		})
	}
}

func TestClientThatIsKickedFromItsOwnHandlerIsLeftOnce(t *testing.T) {
	s := newSite(t)
	w := s.witness(t)
	ws := s.phoenix(t).join("hall:1", "attacker")
	ws.text(`["1","2","hall:1","kick me",{}]`)
	opcode, text, err := ws.read()
	if err == nil && opcode == opText { // the reply may or may not be out before the end
		opcode, text, err = ws.read()
	}
	if err != nil || opcode != opClose || text != "\x03\xe9kicked" {
		t.Errorf("got frame %#x %q and %v, want close 1001 kicked", opcode, text, err)
	}
	s.hall.wantLeft(t, departure{"hall:1", "attacker", "kicked"})
	w.isWell()
	s.hall.wantNobodyLeft(t)
}
