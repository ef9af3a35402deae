package hostile_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/internal/raw"
)

// Joins that are refused, crash, or take for ever, and frames out of season.

func TestFramesOutOfSeasonAreAnsweredAndDoNothing(t *testing.T) {
	const unmatched = `"phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`
	const ok = `"phx_reply",{"status":"ok","response":{}}]`
	s := raw.NewSite(t)
	w := s.Witness(t)
	for _, dialect := range []string{"phoenix", "chime"} {
		t.Run(dialect, func(t *testing.T) {
			ws := speaking(t, s, dialect)
			ws.Text(`[null,"1","hall:1","say",{"a":"before the join"}]`)
			ws.Want(`[null,"1","hall:1",` + unmatched)
			ws.Text(`["9","2","hall:1","say",{"a":"of a join that never was"}]`)
			ws.Want(`[null,"2","hall:1",` + unmatched)
			ws.Text(`["9","3","hall:1","phx_leave",{}]`)
			ws.Want(`["9","3","hall:1",` + ok)
			ws.Text(`["4","4","nowhere:1","phx_join",{}]`)
			ws.Want(`[null,"4","nowhere:1",` + unmatched)

			ws.Join("hall:1", "attacker")
			ws.Text(`["0","5","hall:1","say",{"a":"stale"}]`)
			ws.Text(`["0","6","hall:1","phx_leave",{"a":"stale"}]`)
			ws.Text(`["1","7","hall:1","say",{"a":"good"}]`)
			ws.Want(`[null,null,"hall:1","say",{"a":"good"}]`, `["1","7","hall:1",`+ok)
			w.Hears(`[null,null,"hall:1","say",{"a":"good"}]`)

			ws.Text(`["1","8","hall:1","phx_leave",{}]`)
			ws.Want(`["1","8","hall:1",`+ok, `["1","1","hall:1","phx_close",{}]`)
			s.Hall.WantLeft(t, "hall:1", "attacker", "left")
			ws.Text(`["1","9","hall:1","say",{"a":"after the leave"}]`)
			ws.Want(`[null,"9","hall:1",` + unmatched)
			w.IsWell()
		})
	}
	s.Hall.WantNobodyLeft(t)
}

func TestSecondJoinReplacesTheFirst(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
	ws := s.Phoenix(t).Join("hall:1", "first")
	ws.Text(`["2","2","hall:1","phx_join",{"as":"second"}]`)
	ws.Want(`["2","2","hall:1","phx_reply",{"status":"ok","response":{}}]`, `["1","1","hall:1","phx_close",{}]`)
	s.Hall.WantLeft(t, "hall:1", "first", "replaced")
	ws.Text(`["2","3","hall:1","say",{"n":1}]`)
	ws.Want(`[null,null,"hall:1","say",{"n":1}]`, `["2","3","hall:1","phx_reply",{"status":"ok","response":{}}]`)
	w.Hears(`[null,null,"hall:1","say",{"n":1}]`)

	// Refused, it is out all the same: its client has given the old join up.
	ws.Text(`["4","4","hall:1","phx_join",{"mode":"refuse"}]`)
	ws.Want(`["4","4","hall:1","phx_reply",{"status":"error","response":{"reason":"full house"}}]`, `["2","2","hall:1","phx_close",{}]`)
	s.Hall.WantLeft(t, "hall:1", "second", "replaced")
	w.IsWell()
}

func TestJoinThatFailsTellsOnlyWhatTheApplicationSaid(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
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
			ws := s.Phoenix(t)
			ws.Text(`["1","1","hall:1","phx_join",{"as":"attacker","mode":"` + mode + `"}]`)
			ws.Want(`["1","1","hall:1",` + want)
			accepted := mode == "number" || mode == "mine" // but the reply can't be sent
			if accepted {
				s.Hall.WantLeft(t, "hall:1", "attacker", "panicked")
			}
			ws.Text(`["1","2","hall:1","say",{}]`)
			ws.Want(`[null,"2","hall:1","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`)

			es := s.Bare(t, "join=hall:1&mode="+strings.ReplaceAll(mode, " ", "+"))
			es.Want(`["1","1","hall:1",` + want)
			if accepted {
				s.Hall.WantLeft(t, "hall:1", "", "panicked")
			}
			w.IsWell()
		})
	}
	s.Hall.WantNobodyLeft(t)
}

func TestSlowJoinHoldsUpItsTopicOnly(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
	ws := s.Phoenix(t)
	ws.Text(`["1","1","hall:1","phx_join",{"as":"sloth","mode":"slow"}]`)
	s.Hall.WantBegun(t, "sloth")
	ws.Text(`["2","2","hall:2","phx_join",{"as":"swift"}]`)
	ws.Want(`["2","2","hall:2","phx_reply",{"status":"ok","response":{}}]`)
	ws.Text(`["2","3","hall:2","echo",{"n":1}]`)
	ws.Want(`["2","3","hall:2","phx_reply",{"status":"ok","response":{"n":1}}]`)
	w.IsWell() // the joiner is no member yet

	ws.Text(`["1","4","hall:1","echo",{"n":2}]`) // waits for its join
	close(s.Hall.Release)
	ws.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`, `["1","4","hall:1","phx_reply",{"status":"ok","response":{"n":2}}]`)
	w.IsWell()
	ws.Want(raw.Tick(w.N))
}

func TestClientThatGoesDuringASlowJoinIsLeftOnce(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
	for name, leave := range map[string]struct {
		how func(*raw.Socket)
		why channel.Reason
	}{
		"by a leave": {func(ws *raw.Socket) { ws.Text(`["1","2","hall:1","phx_leave",{}]`) }, "left"},
		"by a close": {func(ws *raw.Socket) { ws.Write(raw.Masked(raw.Fin|raw.OpClose, "\x03\xe8")) }, "closed"},
		"by a cut":   {func(ws *raw.Socket) { _ = ws.Conn.Close() }, "vanished"},
	} {
		t.Run(name, func(t *testing.T) {
			s.Hall.Release = make(chan struct{})
			ws := s.Phoenix(t)
			ws.Text(`["1","1","hall:1","phx_join",{"as":"sloth","mode":"slow"}]`)
			s.Hall.WantBegun(t, "sloth")
			ws.Text(`["2","2","hall:2","phx_join",{"as":"swift"}]`)
			ws.Want(`["2","2","hall:2","phx_reply",{"status":"ok","response":{}}]`)
			leave.how(ws)
			if leave.why == "left" {
				close(s.Hall.Release)
				ws.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`, `["1","2","hall:1","phx_reply",{"status":"ok","response":{}}]`, `["1","1","hall:1","phx_close",{}]`)
				s.Hall.WantLeft(t, "hall:1", "sloth", "left")
				_ = ws.Conn.Close()
				s.Hall.WantLeft(t, "hall:2", "swift", "vanished")
			} else {
				// The topic that nothing holds up is left first.
				s.Hall.WantLeft(t, "hall:2", "swift", leave.why)
				w.IsWell()
				close(s.Hall.Release)
				s.Hall.WantLeft(t, "hall:1", "sloth", leave.why)
			}
			w.IsWell()
		})
	}
	s.Hall.WantNobodyLeft(t)
}

func TestTooManyTopicsAreRefused(t *testing.T) {
	s := raw.NewSite(t, chime.WithLimits(chime.Limits{Topics: 3}))
	w := s.Witness(t)
	ws := s.Phoenix(t)
	for _, id := range []string{"2", "3", "4"} {
		ws.Join("hall:"+id, "hoarder")
	}
	ws.Text(`["5","5","hall:1","phx_join",{}]`)
	ws.Want(`["5","5","hall:1","phx_reply",{"status":"error","response":{"reason":"too many channels joined"}}]`)
	ws.Text(`["1","6","hall:2","phx_leave",{}]`)
	ws.Want(`["1","6","hall:2","phx_reply",{"status":"ok","response":{}}]`, `["1","1","hall:2","phx_close",{}]`)
	s.Hall.WantLeft(t, "hall:2", "hoarder", "left")
	w.IsWell()
}

// lingering is a channel whose HandleLeave takes as long as the test wants.
type lingering struct {
	channel.AnyoneMayJoin
	began   chan string
	release chan struct{}
}

func (lingering) HandleMessage(context.Context, *channel.Socket, channel.Message) (any, error) {
	return nil, nil
}

func (l lingering) HandleLeave(_ context.Context, s *channel.Socket, _ channel.Reason) {
	l.began <- s.Topic()
	<-l.release
}

// A topic that was left does not count, but a client that joins and leaves faster
// than HandleLeave returns cannot pile its topics up.
func TestTopicsThatAreLeftFasterThanHandleLeaveReturnsAreTooMany(t *testing.T) {
	s := raw.NewSite(t, chime.WithLimits(chime.Limits{Topics: 2}))
	ch := lingering{began: make(chan string), release: make(chan struct{})}
	s.Live.Channel("slow:{id}", ch)
	release := sync.OnceFunc(func() { close(ch.release) })
	t.Cleanup(release)
	w := s.Witness(t)
	ws := s.Phoenix(t)
	for _, topic := range []string{"slow:2", "slow:3", "slow:4", "slow:5"} {
		ws.Join(topic, "hoarder")
		ws.Text(`["1","2","` + topic + `","phx_leave",{}]`)
		if got := raw.Await(t, ch.began, "HandleLeave"); got != topic {
			t.Fatalf("HandleLeave: got %s, want %s", got, topic)
		}
		ws.Want(`["1","2","`+topic+`","phx_reply",{"status":"ok","response":{}}]`, `["1","1","`+topic+`","phx_close",{}]`)
	}
	ws.Text(`["6","6","slow:6","phx_join",{}]`)
	ws.Want(`["6","6","slow:6","phx_reply",{"status":"error","response":{"reason":"too many channels joined"}}]`)
	release()
	w.IsWell()
}

// TestJoinThatAsksForNonsenseIsRefused, and one that asks for too much gets
// what there is.
func TestJoinThatAsksForNonsenseIsRefused(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
	ws, _ := s.Chime(t)
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
		ws.Text(`["1","1","book:1","phx_join",` + payload + `]`)
		ws.Want(`["1","1","book:1","phx_reply",{"status":"error","response":{"reason":"` + reason + `"}}]`)
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
		ws.Text(`["1","1","book:1","phx_join",` + payload + `]`)
		got := ws.Next()
		if !strings.HasPrefix(got, `["1","1","book:1","phx_reply",{"status":"ok","response":{"@history":{"epoch":"`) {
			t.Errorf("join with %s: got %s, want ok", payload, raw.Clip(got))
		}
		_ = parsedFrame(t, got)
		ws.Text(`["1","2","book:1","phx_leave",{}]`)
		ws.Want(`["1","2","book:1","phx_reply",{"status":"ok","response":{}}]`, `["1","1","book:1","phx_close",{}]`)
		s.Hall.WantLeft(t, "book:1", "", "left")
	}
	w.IsWell()
}

// TestReplyToAJoinStaysJSON when the application's own has spaces in it.
func TestReplyToAJoinStaysJSON(t *testing.T) {
	s := raw.NewSite(t)
	ws, _ := s.Chime(t)
	ws.Text(`["1","1","book:1","phx_join",{"mode":"spaced"}]`)
	got := ws.Next()
	_ = parsedFrame(t, got)
	if !strings.Contains(got, `"@history":{`) {
		t.Errorf("got %s, want @history in it", got)
	}
}

// The topic of heartbeats is one that nobody has joined.
func TestTheTopicPhoenixIsNoChannel(t *testing.T) {
	s := raw.NewSite(t)
	chime, _ := s.Chime(t)
	for name, ws := range map[string]*raw.Socket{"phoenix": s.Phoenix(t), "chime": chime} {
		t.Run(name, func(t *testing.T) {
			ws.Text(`[null,"1","phoenix","heartbeat",{}]`)
			ws.Want(`[null,"1","phoenix","phx_reply",{"status":"ok","response":{}}]`)
			ws.Text(`["2","2","phoenix","phx_join",{}]`)
			ws.Want(`[null,"2","phoenix","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`)
			ws.Text(`["2","3","phoenix","phx_leave",{}]`)
			ws.Want(`["2","3","phoenix","phx_reply",{"status":"ok","response":{}}]`)
		})
	}
}
