package hostile_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/internal/raw"
)

// Clients that ask too often. In a bubble no time passes but what the test sleeps, so
// the counts are exact: ten seconds' worth, and one more for each second.

// talker sends frames in a dialect, and knows how it is answered.
type talker struct {
	frame  func(ref, topic, event, payload string)
	wants  func(frame string) // one of five elements
	closed func()
}

// talkers are the dialects whose clients are answered.
var talkers = map[string]func(*testing.T, *raw.Site) talker{
	"websocket/phoenix": func(t *testing.T, s *raw.Site) talker { return onWebSocket(s.Phoenix(t)) },
	"websocket/chime": func(t *testing.T, s *raw.Site) talker {
		ws, _ := s.Chime(t)
		return onWebSocket(ws)
	},
	"websocket/phoenix v1": func(t *testing.T, s *raw.Site) talker {
		ws := s.Upgrade(t, "/socket/websocket").Opened()
		return talker{
			frame: func(ref, topic, event, payload string) {
				ws.Text(fmt.Sprintf(`{"topic":%q,"event":%q,"payload":%s,"ref":%q,"join_ref":"1"}`, topic, event, payload, ref))
			},
			wants: func(frame string) {
				part := strings.SplitN(strings.Trim(frame, "[]"), ",", 5)
				ws.Want(fmt.Sprintf(`{"topic":%s,"event":%s,"payload":%s,"ref":%s}`, part[2], part[3], part[4], part[1]))
			},
			closed: func() { ws.WantClose(1008, "rate limited") },
		}
	},
	"stream/chime": func(t *testing.T, s *raw.Site) talker {
		es, secret := s.Half(t)
		return talker{
			frame: posted(t, func(body string) *raw.Answer { return s.Post(t, secret, body, "Connection: close") }),
			wants: func(frame string) { es.Want(frame) }, closed: func() { es.WantClosed(1008, "rate limited") },
		}
	},
	"poll/chime": func(t *testing.T, s *raw.Site) talker {
		p := s.Poll(t)
		return talker{
			frame: posted(t, p.Post),
			wants: func(frame string) { p.Want(frame) }, closed: func() { p.WantClosed(1008, "rate limited") },
		}
	},
}

// posted sends each frame in a POST.
func posted(t *testing.T, post func(body string) *raw.Answer) func(ref, topic, event, payload string) {
	first := 0
	return func(ref, topic, event, payload string) {
		if topic != "phoenix" { // which is not counted
			first++
		}
		body := fmt.Sprintf(`{"first":%d,"frames":[["1",%q,%q,%q,%s]]}`, max(first, 1), ref, topic, event, payload)
		if res := post(body); res.StatusCode != http.StatusOK && res.StatusCode != http.StatusGone {
			t.Errorf("POST: got %s, want 200, or 410 after the end", res.Status)
		}
	}
}

func onWebSocket(ws *raw.Socket) talker {
	return talker{
		frame: func(ref, topic, event, payload string) {
			ws.Text(fmt.Sprintf(`["1",%q,%q,%q,%s]`, ref, topic, event, payload))
		},
		wants:  func(frame string) { ws.Want(frame) },
		closed: func() { ws.WantClose(1008, "rate limited") },
	}
}

const (
	limitedReply = `["1","%s","hall:1","phx_reply",{"status":"error","response":{"reason":"rate_limited"}}]`
	okReply      = `["1","%s","hall:1","phx_reply",{"status":"ok","response":{}}]`
)

func (c talker) join() {
	c.frame("1", "hall:1", "phx_join", `{"as":"attacker"}`)
	c.wants(fmt.Sprintf(okReply, "1"))
}

func (c talker) echo(n int, reply string) {
	ref := fmt.Sprint("e", n)
	c.frame(ref, "hall:1", "echo", "{}")
	c.wants(fmt.Sprintf(reply, ref))
}

func TestFramesBeyondTheRateAreRefusedAndWhoGoesOnIsEnded(t *testing.T) {
	limits := chime.WithLimits(chime.Limits{FramesPerSecond: 1})
	for name, open := range talkers {
		t.Run(name, func(t *testing.T) {
			raw.InBubble(t, &http.Server{}, []chime.Option{limits}, func(t *testing.T, s *raw.Site) {
				w := s.Witness(t)
				c := open(t, s)
				c.join()
				for n := range 9 {
					c.echo(n, okReply)
				}
				for n := range 3 { // each of which has to be paid for, too
					c.echo(n, limitedReply)
				}
				w.IsWell()
				c.wants(raw.Tick(w.N))
				time.Sleep(4 * time.Second)
				c.echo(10, okReply)
				c.echo(11, limitedReply)
				c.frame("beat", "phoenix", "heartbeat", "{}") // keeps the connection, and is answered
				c.wants(`[null,"beat","phoenix","phx_reply",{"status":"ok","response":{}}]`)
				c.frame("leave", "hall:1", "phx_leave", "{}") // makes room
				c.wants(fmt.Sprintf(okReply, "leave"))
				c.wants(`["1","1","hall:1","phx_close",{}]`)
				s.Hall.WantLeft(t, "hall:1", "attacker", "left")
				for n := range 7 {
					c.echo(n, limitedReply)
				}
				c.frame("last", "hall:1", "echo", "{}")
				c.closed()
				w.IsWell()
				if got, floods := refusals(s.Live, "frame_rate"), refusals(s.Live, "flood"); got != 11 || floods != 1 {
					t.Errorf("got %d by frame_rate and %d floods, want 11 and 1", got, floods)
				}
			})
		})
	}
}

// An Amber client is told of nothing but the end.
func TestAnAmberClientBeyondTheRateIsEnded(t *testing.T) {
	limits := chime.WithLimits(chime.Limits{FramesPerSecond: 1})
	for name, flood := range map[string]string{
		"messages":           `{"event":"message","topic":"hall:1","subject":"say"}`,
		"what is no message": `nonsense`,
	} {
		t.Run(name, func(t *testing.T) {
			raw.InBubble(t, &http.Server{}, []chime.Option{limits}, func(t *testing.T, s *raw.Site) {
				w := s.Witness(t)
				ws := s.Upgrade(t, "/socket").Opened()
				ws.Text(`{"event":"join","topic":"hall:1","payload":{"as":"attacker"}}`)
				for range 15 {
					ws.Text(flood)
				}
				for range 9 {
					if name == "messages" {
						w.Hears(`[null,null,"hall:1","say",{}]`)
						ws.Want(`{"event":"message","topic":"hall:1","subject":"say","payload":{}}`)
					}
				}
				synctest.Wait()
				for range 5 {
					ws.Text(flood)
				}
				ws.WantClose(1008, "rate limited")
				s.Hall.WantLeft(t, "hall:1", "attacker", "closed")
				w.IsWell()
			})
		})
	}
}

func TestJoinsBeyondTheRateAreRefused(t *testing.T) {
	limits := chime.WithLimits(chime.Limits{JoinsPerSecond: 1, Topics: 1})
	for name, open := range talkers {
		t.Run(name, func(t *testing.T) {
			raw.InBubble(t, &http.Server{}, []chime.Option{limits}, func(t *testing.T, s *raw.Site) {
				c := open(t, s)
				for range 10 {
					c.join()
					c.frame("2", "hall:1", "phx_leave", "{}")
					c.wants(fmt.Sprintf(okReply, "2"))
					c.wants(`["1","1","hall:1","phx_close",{}]`)
					s.Hall.WantLeft(t, "hall:1", "attacker", "left")
				}
				c.frame("1", "hall:1", "phx_join", "{}")
				c.wants(fmt.Sprintf(limitedReply, "1"))
				time.Sleep(2 * time.Second)
				c.join()
				if got := refusals(s.Live, "join_rate"); got != 1 {
					t.Errorf("got %d, want 1 by join_rate", got)
				}
			})
		})
	}
}

// A small request for older messages has a large page read: it counts as a join.
func TestRequestsForOlderMessagesBeyondTheRateAreRefused(t *testing.T) {
	limits := chime.WithLimits(chime.Limits{JoinsPerSecond: 1, Topics: 1})
	for name, open := range talkers {
		t.Run(name, func(t *testing.T) {
			raw.InBubble(t, &http.Server{}, []chime.Option{limits}, func(t *testing.T, s *raw.Site) {
				c := open(t, s)
				c.join()
				ask := func(ref, reply string) {
					c.frame(ref, "hall:1", "@history", "{}")
					c.wants(fmt.Sprintf(reply, ref))
				}
				answer := strings.Replace(limitedReply, "rate_limited", "no history", 1)
				for n := range 9 {
					ask(fmt.Sprint(n), answer)
				}
				ask("9", limitedReply)
				time.Sleep(2 * time.Second)
				ask("10", answer)
				if got := refusals(s.Live, "join_rate"); got != 1 {
					t.Errorf("got %d, want 1 by join_rate", got)
				}
			})
		})
	}
}

func TestBytesBeyondTheRateAreRefused(t *testing.T) {
	limits := chime.WithLimits(chime.Limits{BytesPerSecond: 1000, MessageBytes: 1100, BatchBytes: 2200})
	for name, open := range talkers {
		if !strings.HasPrefix(name, "websocket/") {
			continue // see TestAPostIsPaidForBeforeItIsRead
		}
		t.Run(name, func(t *testing.T) {
			raw.InBubble(t, &http.Server{}, []chime.Option{limits}, func(t *testing.T, s *raw.Site) {
				c := open(t, s)
				c.join()
				big := `{"a":"` + strings.Repeat("x", 900) + `"}` // a message of 950 bytes and some
				for n := range 10 {
					ref := fmt.Sprint("e", n)
					c.frame(ref, "hall:1", "refuse", big)
					c.wants(fmt.Sprintf(strings.Replace(limitedReply, "rate_limited", "not today", 1), ref))
				}
				c.frame("11", "hall:1", "refuse", big)
				c.wants(fmt.Sprintf(limitedReply, "11"))
			})
		})
	}
}

// A ping has to be answered, so a flood of them is one of frames.
func TestPingsBeyondTheRateEndTheClient(t *testing.T) {
	raw.InBubble(t, &http.Server{}, []chime.Option{chime.WithLimits(chime.Limits{FramesPerSecond: 1})}, func(t *testing.T, s *raw.Site) {
		ws := s.Phoenix(t)
		for range 20 {
			ws.Write(raw.Masked(raw.Fin|raw.OpPing, ""))
			if first, _, err := ws.Read(); err != nil || first != raw.OpPong {
				t.Fatalf("got frame %#x and error %v, want a pong", first, err)
			}
		}
		ws.Write(raw.Masked(raw.Fin|raw.OpPing, ""))
		for {
			first, payload, err := ws.Read()
			if err != nil || first == raw.OpClose {
				if want := "\x03\xf0rate limited"; payload != want {
					t.Errorf("got %q and error %v, want %q", payload, err, want)
				}
				return
			}
		}
	})
}
