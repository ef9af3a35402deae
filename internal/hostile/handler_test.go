package hostile_test

import (
	"strings"
	"testing"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/internal/raw"
)

// Handlers that panic, block, or say too much.

func TestHandlerThatPanicsEndsItsJoinOnly(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
	for _, dialect := range []string{"phoenix", "chime"} {
		for _, event := range []string{"boom", "mine"} {
			t.Run(dialect+"/"+event, func(t *testing.T) {
				ws := speaking(t, s, dialect).Join("hall:1", "attacker").Join("hall:2", "bystander")
				ws.Text(`["1","5","hall:1","` + event + `",{}]`)
				ws.Want(`["1","1","hall:1","phx_error",{"reason":"channel_crash"}]`)
				s.Hall.WantLeft(t, "hall:1", "attacker", "panicked")
				ws.Text(`["1","6","hall:2","echo",{"n":1}]`)
				ws.Want(`["1","6","hall:2","phx_reply",{"status":"ok","response":{"n":1}}]`)
				w.IsWell()
				ws.Join("hall:1", "attacker")
				w.IsWell()
				ws.Want(raw.Tick(w.N))
				_ = ws.Conn.Close()
				s.Hall.WantAllLeft(t, raw.Left("hall:1", "attacker", "vanished"), raw.Left("hall:2", "bystander", "vanished"))
			})
		}
	}
	s.Hall.WantNobodyLeft(t)
}

func TestErrorOfAHandlerTellsOnlyWhatTheApplicationSaid(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
	ws := s.Phoenix(t).Join("hall:1", "attacker")
	for event, reason := range map[string]string{
		"fail":      "internal",
		"no json":   "internal",
		"typed nil": "internal",
		"refuse":    "not today", // wrapped in an error that has a secret
	} {
		ws.Text(`["1","2","hall:1","` + event + `",{}]`)
		ws.Want(`["1","2","hall:1","phx_reply",{"status":"error","response":{"reason":"` + reason + `"}}]`)
		w.IsWell()
		ws.Want(raw.Tick(w.N))
	}
	// A payload that can't be rebroadcast, since it is no object.
	ws.Text(`["1","3","hall:1","say",[1]]`)
	ws.Want(`["1","3","hall:1","phx_reply",{"status":"error","response":{"reason":"payload is not an object"}}]`)
	w.IsWell()
}

// TestErrorThatNobodyIsToldOfIsLogged: of a message without a ref, and of all
// that an Amber client sends, the log is the only witness.
func TestErrorThatNobodyIsToldOfIsLogged(t *testing.T) {
	for name, send := range map[string]func(*testing.T, *raw.Site, string){
		"phoenix": func(t *testing.T, s *raw.Site, event string) {
			ws := s.Phoenix(t).Join("hall:1", "attacker")
			ws.Text(`["1",null,"hall:1","` + event + `",{}]`)
			ws.Text(`["1","2","hall:1","echo",{}]`)
			ws.Want(`["1","2","hall:1","phx_reply",{"status":"ok","response":{}}]`) // and nothing before it
		},
		"amber": func(t *testing.T, s *raw.Site, event string) {
			ws := amber(t, s, "attacker")
			ws.Text(`{"event":"message","topic":"hall:1","subject":"` + event + `"}`)
			ws.Text(`{"event":"message","topic":"hall:1","subject":"say"}`)
			ws.Want(`{"event":"message","topic":"hall:1","subject":"say","payload":{}}`)
		},
	} {
		for event, log := range map[string]string{
			"fail":      `"level":"ERROR","msg":"message failed","topic":"hall:1","event":"fail"`,
			"phx_reply": `"level":"DEBUG","msg":"frame refused","reason":"invalid event","topic":"hall:1","event":"phx_reply"`,
		} {
			t.Run(name+"/"+event, func(t *testing.T) {
				s := raw.NewSite(t)
				send(t, s, event)
				if got := s.Logs.String(); !strings.Contains(got, log) {
					t.Errorf("logged %s, want %s", raw.Clip(got), log)
				}
			})
		}
	}
}

func TestHandlerThatBlocksHoldsUpItsTopicOfItsClientOnly(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
	ws := s.Phoenix(t).Join("hall:1", "attacker").Join("hall:2", "bystander")
	ws.Text(`["1","3","hall:1","block",{}]`)
	s.Hall.WantBegun(t, "attacker")
	ws.Text(`["1","4","hall:1","echo",{"n":1}]`)
	ws.Text(`["1","5","hall:2","echo",{"n":2}]`)
	ws.Want(`["1","5","hall:2","phx_reply",{"status":"ok","response":{"n":2}}]`)
	w.IsWell()
	ws.Want(raw.Tick(w.N)) // it blocks what it does, not what it hears
	close(s.Hall.Release)
	ws.Want(`["1","3","hall:1","phx_reply",{"status":"ok","response":{}}]`, `["1","4","hall:1","phx_reply",{"status":"ok","response":{"n":1}}]`)
}

func TestFullInboxEndsItsJoinOnly(t *testing.T) {
	for name, flood := range map[string]struct {
		limits chime.Limits
		frame  string
		n      int
	}{
		"by messages":            {chime.Limits{InboxMessages: 8}, `["1","4","hall:1","echo",{}]`, 20},
		"by bytes of payloads":   {chime.Limits{InboxBytes: 10_000}, `["1","4","hall:1","echo","` + strings.Repeat("x", 3000) + `"]`, 6},
		"by bytes of event":      {chime.Limits{InboxBytes: 10_000}, `["1","4","hall:1","` + strings.Repeat("x", 3000) + `",{}]`, 6},
		"by bytes of references": {chime.Limits{InboxBytes: 2_000}, `["1","` + strings.Repeat("4", 255) + `","hall:1","echo",{}]`, 12},
	} {
		t.Run(name, func(t *testing.T) {
			s := raw.NewSite(t, chime.WithLimits(flood.limits))
			w := s.Witness(t)
			ws := s.Phoenix(t).Join("hall:1", "attacker").Join("hall:2", "bystander")
			ws.Text(`["1","3","hall:1","block",{}]`)
			s.Hall.WantBegun(t, "attacker")
			for range flood.n {
				ws.Text(flood.frame)
			}
			got := ws.Next()
			if strings.HasPrefix(got, `["1","3","hall:1","phx_reply"`) {
				got = ws.Next() // of the handler, which is cancelled a moment before
			}
			if want := `["1","1","hall:1","phx_error",{"reason":"overloaded"}]`; got != want {
				t.Fatalf("got %s, want %s", raw.Clip(got), want)
			}
			s.Hall.WantLeft(t, "hall:1", "attacker", "slow")
			ws.Text(`["1","5","hall:2","echo",{"n":2}]`)
			for { // what came too late is answered before
				if got := ws.Next(); got == `["1","5","hall:2","phx_reply",{"status":"ok","response":{"n":2}}]` {
					break
				} else if !strings.Contains(got, `"hall:1","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`) &&
					!strings.Contains(got, `"hall:1","phx_reply",{"status":"error","response":{"reason":"overloaded"}}]`) {
					t.Fatalf("got %s, want a reply", raw.Clip(got))
				}
			}
			w.IsWell()
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
			s := raw.NewSite(t, chime.WithLimits(chime.Limits{InboxMessages: 3}))
			w := s.Witness(t)
			ws := s.Phoenix(t).Join("hall:1", "attacker")
			ws.Text(`["1","3","hall:1","block",{}]`)
			s.Hall.WantBegun(t, "attacker")
			for range 3 {
				ws.Text(`["1",null,"hall:1","nothing",{}]`)
			}
			ws.Text(last[0])
			got := ws.Next()
			if strings.HasPrefix(got, `["1","3","hall:1","phx_reply"`) {
				got = ws.Next() // of the handler, which is cancelled a moment before
			}
			if want := `["1","1","hall:1","phx_error",{"reason":"overloaded"}]`; got != want {
				t.Fatalf("got %s, want %s", raw.Clip(got), want)
			}
			if got = ws.Next(); strings.HasPrefix(got, `["1","3","hall:1","phx_reply"`) {
				got = ws.Next() // or behind it
			}
			if got != last[1] {
				t.Errorf("got %s, want %s", raw.Clip(got), last[1])
			}
			s.Hall.WantLeft(t, "hall:1", "attacker", "slow")
			w.IsWell()
		})
	}
}

func TestClientThatIsKickedFromItsOwnHandlerIsLeftOnce(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
	ws := s.Phoenix(t).Join("hall:1", "attacker")
	ws.Text(`["1","2","hall:1","kick me",{}]`)
	opcode, text, err := ws.Read()
	if err == nil && opcode == raw.OpText { // the reply may or may not be out before the end
		opcode, text, err = ws.Read()
	}
	if err != nil || opcode != raw.OpClose || text != "\x03\xe9kicked" {
		t.Errorf("got frame %#x %q and %v, want close 1001 kicked", opcode, text, err)
	}
	s.Hall.WantLeft(t, "hall:1", "attacker", "kicked")
	w.IsWell()
	s.Hall.WantNobodyLeft(t)
}
