package chime_test

import (
	"strings"
	"testing"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
)

// Joins that are refused, crash, or take for ever, and frames out of season.

func TestFramesOutOfSeasonAreAnsweredAndDoNothing(t *testing.T) {
	const unmatched = `"phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`
	const ok = `"phx_reply",{"status":"ok","response":{}}]`
	s := newSite(t)
	w := s.witness(t)
	for _, dialect := range []string{"phoenix", "chime"} {
		t.Run(dialect, func(t *testing.T) {
			ws := s.speaking(t, dialect)
			ws.text(`[null,"1","hall:1","say",{"a":"before the join"}]`)
			ws.want(`[null,"1","hall:1",` + unmatched)
			ws.text(`["9","2","hall:1","say",{"a":"of a join that never was"}]`)
			ws.want(`[null,"2","hall:1",` + unmatched)
			ws.text(`["9","3","hall:1","phx_leave",{}]`)
			ws.want(`["9","3","hall:1",` + ok)
			ws.text(`["4","4","nowhere:1","phx_join",{}]`)
			ws.want(`[null,"4","nowhere:1",` + unmatched)

			ws.join("hall:1", "attacker")
			ws.text(`["0","5","hall:1","say",{"a":"stale"}]`)
			ws.text(`["0","6","hall:1","phx_leave",{"a":"stale"}]`)
			ws.text(`["1","7","hall:1","say",{"a":"good"}]`)
			ws.want(`[null,null,"hall:1","say",{"a":"good"}]`, `["1","7","hall:1",`+ok)
			w.hears(`[null,null,"hall:1","say",{"a":"good"}]`)

			ws.text(`["1","8","hall:1","phx_leave",{}]`)
			ws.want(`["1","8","hall:1",`+ok, `["1","1","hall:1","phx_close",{}]`)
			s.hall.wantLeft(t, departure{"hall:1", "attacker", "left"})
			ws.text(`["1","9","hall:1","say",{"a":"after the leave"}]`)
			ws.want(`[null,"9","hall:1",` + unmatched)
			w.isWell()
		})
	}
	s.hall.wantNobodyLeft(t)
}

func TestSecondJoinReplacesTheFirst(t *testing.T) {
	s := newSite(t)
	w := s.witness(t)
	ws := s.phoenix(t).join("hall:1", "first")
	ws.text(`["2","2","hall:1","phx_join",{"as":"second"}]`)
	ws.want(`["2","2","hall:1","phx_reply",{"status":"ok","response":{}}]`, `["1","1","hall:1","phx_close",{}]`)
	s.hall.wantLeft(t, departure{"hall:1", "first", "replaced"})
	ws.text(`["2","3","hall:1","say",{"n":1}]`)
	ws.want(`[null,null,"hall:1","say",{"n":1}]`, `["2","3","hall:1","phx_reply",{"status":"ok","response":{}}]`)
	w.hears(`[null,null,"hall:1","say",{"n":1}]`)

	// Refused, it is out all the same: its client has given the old join up.
	ws.text(`["4","4","hall:1","phx_join",{"mode":"refuse"}]`)
	ws.want(`["4","4","hall:1","phx_reply",{"status":"error","response":{"reason":"full house"}}]`, `["2","2","hall:1","phx_close",{}]`)
	s.hall.wantLeft(t, departure{"hall:1", "second", "replaced"})
	w.isWell()
}

func TestJoinThatFailsTellsOnlyWhatTheApplicationSaid(t *testing.T) {
	s := newSite(t)
	w := s.witness(t)
	for mode, reason := range map[string]string{
		"refuse":    "full house",
		"forget":    "not accepted",
		"fail":      "internal",
		"panic":     "join crashed",
		"number":    "internal",
		"mine":      "internal",
		"typed nil": "internal",
	} {
		t.Run(mode, func(t *testing.T) {
			want := `"phx_reply",{"status":"error","response":{"reason":"` + reason + `"}}]`
			ws := s.phoenix(t)
			ws.text(`["1","1","hall:1","phx_join",{"as":"attacker","mode":"` + mode + `"}]`)
			ws.want(`["1","1","hall:1",` + want)
			accepted := mode == "number" || mode == "mine" // but the reply can't be sent
			if accepted {
				s.hall.wantLeft(t, departure{"hall:1", "attacker", "panicked"})
			}
			ws.text(`["1","2","hall:1","say",{}]`)
			ws.want(`[null,"2","hall:1","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`)

			es := s.bare(t, "join=hall:1&mode="+strings.ReplaceAll(mode, " ", "+"))
			es.want(`["1","1","hall:1",` + want)
			if accepted {
				s.hall.wantLeft(t, departure{"hall:1", "", "panicked"})
			}
			w.isWell()
		})
	}
	s.hall.wantNobodyLeft(t)
}

func TestSlowJoinHoldsUpItsTopicOnly(t *testing.T) {
	s := newSite(t)
	w := s.witness(t)
	ws := s.phoenix(t)
	ws.text(`["1","1","hall:1","phx_join",{"as":"sloth","mode":"slow"}]`)
	s.hall.wantBegun(t, "sloth")
	ws.text(`["2","2","hall:2","phx_join",{"as":"swift"}]`)
	ws.want(`["2","2","hall:2","phx_reply",{"status":"ok","response":{}}]`)
	ws.text(`["2","3","hall:2","echo",{"n":1}]`)
	ws.want(`["2","3","hall:2","phx_reply",{"status":"ok","response":{"n":1}}]`)
	w.isWell() // the joiner is no member yet

	ws.text(`["1","4","hall:1","echo",{"n":2}]`) // waits for its join
	close(s.hall.release)
	ws.want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`, `["1","4","hall:1","phx_reply",{"status":"ok","response":{"n":2}}]`)
	w.isWell()
	ws.want(tick(w.n))
}

func TestClientThatGoesDuringASlowJoinIsLeftOnce(t *testing.T) {
	s := newSite(t)
	w := s.witness(t)
	for name, leave := range map[string]struct {
		how func(*rawSocket)
		why channel.Reason
	}{
		"by a leave": {func(ws *rawSocket) { ws.text(`["1","2","hall:1","phx_leave",{}]`) }, "left"},
		"by a close": {func(ws *rawSocket) { ws.write(maskedFrame(fin|opClose, "\x03\xe8")) }, "closed"},
		"by a cut":   {func(ws *rawSocket) { _ = ws.conn.Close() }, "gone"},
	} {
		t.Run(name, func(t *testing.T) {
			s.hall.release = make(chan struct{})
			ws := s.phoenix(t)
			ws.text(`["1","1","hall:1","phx_join",{"as":"sloth","mode":"slow"}]`)
			s.hall.wantBegun(t, "sloth")
			ws.text(`["2","2","hall:2","phx_join",{"as":"swift"}]`)
			ws.want(`["2","2","hall:2","phx_reply",{"status":"ok","response":{}}]`)
			leave.how(ws)
			if leave.why == "left" {
				close(s.hall.release)
				ws.want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`, `["1","2","hall:1","phx_reply",{"status":"ok","response":{}}]`, `["1","1","hall:1","phx_close",{}]`)
				s.hall.wantLeft(t, departure{"hall:1", "sloth", "left"})
				_ = ws.conn.Close()
				s.hall.wantLeft(t, departure{"hall:2", "swift", "gone"})
			} else {
				// The topic that nothing holds up is left first.
				s.hall.wantLeft(t, departure{"hall:2", "swift", leave.why})
				w.isWell()
				close(s.hall.release)
				s.hall.wantLeft(t, departure{"hall:1", "sloth", leave.why})
			}
			w.isWell()
		})
	}
	s.hall.wantNobodyLeft(t)
}

func TestTooManyTopicsAreRefused(t *testing.T) {
	s := newSite(t, chime.WithLimits(chime.Limits{Topics: 3}))
	w := s.witness(t)
	ws := s.phoenix(t)
	for _, id := range []string{"2", "3", "4"} {
		ws.join("hall:"+id, "hoarder")
	}
	ws.text(`["5","5","hall:1","phx_join",{}]`)
	ws.want(`["5","5","hall:1","phx_reply",{"status":"error","response":{"reason":"too many channels joined"}}]`)
	ws.text(`["1","6","hall:2","phx_leave",{}]`)
	ws.want(`["1","6","hall:2","phx_reply",{"status":"ok","response":{}}]`, `["1","1","hall:2","phx_close",{}]`)
	s.hall.wantLeft(t, departure{"hall:2", "hoarder", "left"})
	w.isWell()
}

// TestJoinThatAsksForNonsenseIsRefused, and one that asks for too much gets
// what there is.
func TestJoinThatAsksForNonsenseIsRefused(t *testing.T) {
	s := newSite(t)
	w := s.witness(t)
	ws, _ := s.chime(t)
	const since = `malformed @since: want {\"epoch\":\"…\",\"offset\":n}`
	const last = `malformed @last: want a number from 0`
	for payload, reason := range map[string]string{
		`{"@since":1}`:                               since,
		`{"@since":null}`:                            since,
		`{"@since":{}}`:                              since,
		`{"@since":{"epoch":"x"}}`:                   since,
		`{"@since":{"epoch":1,"offset":1}}`:          since,
		`{"@since":{"epoch":"x","offset":-1}}`:       since,
		`{"@since":{"epoch":"x","offset":"1"}}`:      since,
		`{"@since":{"epoch":"x","offset":1e99}}`:     since,
		`{"@last":-1}`:                               last,
		`{"@last":"1"}`:                              last,
		`{"@last":1.5}`:                              last,
		`{"@last":99999999999999999999999999999999}`: last,
	} {
		ws.text(`["1","1","book:1","phx_join",` + payload + `]`)
		ws.want(`["1","1","book:1","phx_reply",{"status":"error","response":{"reason":"` + reason + `"}}]`)
	}
	for _, payload := range []string{
		`{"@since":{"epoch":"\n\ndata: x","offset":18446744073709551615}}`,
		`{"@since":{"epoch":"","offset":0}}`,
		`{"@last":9223372036854775807}`,
		`{"as":{"@since":1},"@other":1}`,
		`[{"@since":1}]`,
		`"@last"`,
		`null`,
	} {
		ws.text(`["1","1","book:1","phx_join",` + payload + `]`)
		got := ws.next()
		if !strings.HasPrefix(got, `["1","1","book:1","phx_reply",{"status":"ok","response":{"@history":{"epoch":"`) {
			t.Errorf("join with %s: got %s, want ok", payload, clip(got))
		}
		_ = parsedFrame(t, got)
		ws.text(`["1","2","book:1","phx_leave",{}]`)
		ws.want(`["1","2","book:1","phx_reply",{"status":"ok","response":{}}]`, `["1","1","book:1","phx_close",{}]`)
		s.hall.wantLeft(t, departure{"book:1", "", "left"})
	}
	w.isWell()
}

// TestReplyToAJoinStaysJSON when the application's own has spaces in it.
func TestReplyToAJoinStaysJSON(t *testing.T) {
	s := newSite(t)
	ws, _ := s.chime(t)
	ws.text(`["1","1","book:1","phx_join",{"mode":"spaced"}]`)
	got := ws.next()
	_ = parsedFrame(t, got)
	if !strings.Contains(got, `"@history":{`) {
		t.Errorf("got %s, want @history in it", got)
	}
}

// The topic of heartbeats is one that nobody has joined.
func TestTheTopicPhoenixIsNoChannel(t *testing.T) {
	s := newSite(t)
	chime, _ := s.chime(t)
	for name, ws := range map[string]*rawSocket{"phoenix": s.phoenix(t), "chime": chime} {
		t.Run(name, func(t *testing.T) {
			ws.text(`[null,"1","phoenix","heartbeat",{}]`)
			ws.want(`[null,"1","phoenix","phx_reply",{"status":"ok","response":{}}]`)
			ws.text(`["2","2","phoenix","phx_join",{}]`)
			ws.want(`[null,"2","phoenix","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`)
			ws.text(`["2","3","phoenix","phx_leave",{}]`)
			ws.want(`["2","3","phoenix","phx_reply",{"status":"ok","response":{}}]`)
		})
	}
}
