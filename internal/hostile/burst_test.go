package hostile_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/internal/raw"
)

// Bursts of what no history keeps: a reader that reads is not ended by them, and one
// that does not read is.

// readers open a connection and join hall:1. What they return reads a frame.
var readers = map[string]func(*testing.T, *raw.Site) func() string{
	"websocket/phoenix": func(t *testing.T, s *raw.Site) func() string {
		return s.Phoenix(t).Join("hall:1", "reader").Next
	},
	"websocket/chime": func(t *testing.T, s *raw.Site) func() string {
		ws, _ := s.Chime(t)
		return ws.Join("hall:1", "reader").Next
	},
	"stream/chime": func(t *testing.T, s *raw.Site) func() string {
		es, secret := s.Half(t)
		s.Post(t, secret, `{"first":1,"frames":[["1","1","hall:1","phx_join",{"as":"reader"}]]}`, "Connection: close").WantApplied(t, 1)
		es.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
		return func() string { return es.Next().Data }
	},
	"polls/chime": func(t *testing.T, s *raw.Site) func() string {
		t.Cleanup(s.EndSoon)
		p := s.Poll(t)
		p.Post(`{"first":1,"frames":[["1","1","hall:1","phx_join",{"as":"reader"}]]}`).WantApplied(t, 1)
		p.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
		return p.Next
	},
	"stream/bare": func(t *testing.T, s *raw.Site) func() string {
		es := s.Bare(t, "join=hall:1&as=reader")
		es.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
		return func() string { return es.Next().Data }
	},
}

func TestAnEphemeralBurstEndsNoClientThatReads(t *testing.T) {
	const messages, size, each = 100, 60_000, 2
	s := raw.NewSite(t)
	var reading sync.WaitGroup
	for name, open := range readers {
		for range each {
			next := open(t, s)
			reading.Go(func() {
				for n := range messages {
					if got, want := next(), fmt.Sprintf(`[null,null,"hall:1","said",{"n":%d,`, n); !strings.HasPrefix(got, want) {
						t.Errorf("%s: got %s, want %s", name, raw.Clip(got), want)
						return
					}
				}
			})
		}
	}
	pad := strings.Repeat("x", size)
	for n := range messages {
		if err := s.Live.Broadcast(t.Context(), "hall:1", "said", rawJSON(fmt.Sprintf(`{"n":%d,"pad":%q}`, n, pad))); err != nil {
			t.Error(err)
		}
	}
	reading.Wait()
	s.Hall.WantNobodyLeft(t)
}

// pouring sends a client that asks for it more than a socket's buffers hold, at once.
type pouring struct {
	channel.AnyoneMayJoin
	channel.NothingOnLeave
}

const (
	poured     = 100
	pouredSize = 100_000
)

func (pouring) HandleMessage(_ context.Context, s *channel.Socket, _ channel.Message) (any, error) {
	pad := strings.Repeat("x", pouredSize)
	for n := range poured {
		if err := s.Push("said", rawJSON(fmt.Sprintf(`{"n":%d,"pad":%q}`, n, pad))); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func TestABurstOfPushesEndsNoClientThatReads(t *testing.T) {
	const join, ask = `["1","1","pour:1","phx_join",{}]`, `["1","2","pour:1","go",{}]`
	for name, open := range map[string]func(*testing.T, *raw.Site) func() string{
		"websocket": func(t *testing.T, s *raw.Site) func() string {
			ws := s.Phoenix(t)
			ws.Text(join)
			ws.Text(ask)
			return ws.Next
		},
		"stream": func(t *testing.T, s *raw.Site) func() string {
			es, secret := s.Half(t)
			s.Post(t, secret, `{"first":1,"frames":[`+join+`,`+ask+`]}`, "Connection: close").WantApplied(t, 2)
			return func() string { return es.Next().Data }
		},
		"polls": func(t *testing.T, s *raw.Site) func() string {
			t.Cleanup(s.EndSoon)
			p := s.Poll(t)
			p.Post(`{"first":1,"frames":[`+join+`,`+ask+`]}`).WantApplied(t, 2)
			return p.Next
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := raw.NewSite(t)
			s.Live.Channel("pour:{id}", pouring{})
			next := open(t, s)
			want := []string{`["1","1","pour:1","phx_reply",{"status":"ok"`}
			for n := range poured {
				want = append(want, fmt.Sprintf(`["1",null,"pour:1","said",{"n":%d,`, n))
			}
			for _, want := range append(want, `["1","2","pour:1","phx_reply",{"status":"ok"`) {
				if got := next(); !strings.HasPrefix(got, want) {
					t.Fatalf("got %s, want %s", raw.Clip(got), want)
				}
			}
		})
	}
}
