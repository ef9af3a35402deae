package hostile_test

import (
	"context"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/internal/raw"
)

// pusher is a client in hall:1 while its server shuts down.
type pusher struct {
	push func(frames string) (status int) // of the client, and how that is answered
	next func() string                    // frame of the server; "" at the end
}

// pushers open a client of each kind that has joined, with the number 1.
var pushers = map[string]func(*testing.T, *raw.Site) pusher{
	"phoenix": func(t *testing.T, s *raw.Site) pusher { return socketPusher(s.Phoenix(t).Join("hall:1", "ann")) },
	"chime": func(t *testing.T, s *raw.Site) pusher {
		ws, _ := s.Chime(t)
		return socketPusher(ws.Join("hall:1", "ann"))
	},
	"stream": func(t *testing.T, s *raw.Site) pusher {
		es, secret := s.Half(t)
		p := pusher{push: posting(t, s, "/socket/sse", secret), next: func() string {
			e, err := es.Read()
			if err != nil {
				return ""
			}
			return e.Data
		}}
		p.push(`["1","1","hall:1","phx_join",{"as":"ann"}]`)
		es.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
		return p
	},
}

func socketPusher(ws *raw.Socket) pusher {
	return pusher{
		push: func(frame string) int {
			ws.Text(frame)
			return http.StatusOK
		},
		next: func() string {
			opcode, text, err := ws.Read()
			for err == nil && opcode == raw.OpPing {
				opcode, text, err = ws.Read()
			}
			if err != nil || opcode == raw.OpClose {
				return ""
			}
			return text
		},
	}
}

// posting sends each frame in a POST, with the next number.
func posting(t *testing.T, s *raw.Site, target, secret string) func(string) int {
	number := 0
	return func(frame string) int {
		number++
		body := `{"first":` + string(rune('0'+number)) + `,"received":0,"frames":[` + frame + `]}`
		return s.Request(t, http.MethodPost, target, body, "Content-Type: application/json", "Chime-Secret: "+secret).StatusCode
	}
}

var timeOfDrain = regexp.MustCompile(`"retry_ms":\d+`)

// rest returns what a client is still told, in order but for the drain, which may come first.
func (p pusher) rest() []string {
	var frames []string
	for text := p.next(); text != ""; text = p.next() {
		if !strings.Contains(text, `"heartbeat"`) {
			frames = append(frames, timeOfDrain.ReplaceAllString(text, `"retry_ms":0`))
		}
	}
	slices.SortStableFunc(frames, func(a, b string) int { return order(a) - order(b) })
	return frames
}

// order puts the drain behind all but the end.
func order(frame string) int {
	switch {
	case strings.Contains(frame, `"chime","drain"`):
		return 1
	case strings.Contains(frame, `"chime","closed"`):
		return 2
	}
	return 0
}

// What a client has sent is answered on its connection before a drain ends it, if its
// handlers take no longer than the drain; what it sends meanwhile is answered too, or it is
// told that it was not taken.
func TestWhatWasBegunIsAnsweredBeforeADrain(t *testing.T) {
	const (
		blocked = `["1","2","hall:1","phx_reply",{"status":"ok","response":{}}]`
		behind  = `["1","3","hall:1","phx_reply",{"status":"ok","response":{"n":3}}]`
		late    = `["1","4","hall:1","phx_reply",{"status":"ok","response":{"n":4}}]`
		drain   = `[null,null,"chime","drain",{"retry_ms":0,"received":3}]`
		closed  = `[null,null,"chime","closed",{"code":1012,"reason":"drain"}]`
	)
	for kind, open := range pushers {
		for _, tt := range []struct {
			name    string
			event   string
			takes   time.Duration // how long the answer does
			within  time.Duration // how long Shutdown may take; 0: for ever
			answers []string      // but for what comes late, which only Phoenix is answered
		}{
			{"in time", "stay", 4 * time.Second, 0, []string{blocked, behind}},
			{"when its context ends", "block", time.Minute, 0, []string{blocked, behind}},
			{"when half of the time is over", "block", time.Minute, 4 * time.Second, []string{blocked, behind}},
			{"too late", "stay", 7 * time.Second, 0, nil},
			{"too late for its context", "stay", 3 * time.Second, 4 * time.Second, nil},
			{"in time, after its handler", "promise", 4 * time.Second, 0, []string{behind, blocked}},
			{"too late, after its handler", "promise", 7 * time.Second, 0, []string{behind}},
		} {
			t.Run(kind+"/"+tt.name, func(t *testing.T) {
				raw.InBubble(t, &http.Server{}, nil, func(t *testing.T, s *raw.Site) {
					p := open(t, s)
					p.push(`["1","2","hall:1","` + tt.event + `",{}]`)
					p.push(`["1","3","hall:1","echo",{"n":3}]`)
					s.Hall.WantBegun(t, "ann")
					synctest.Wait()
					ctx, cancel := context.WithCancel(t.Context())
					if tt.within > 0 {
						ctx, cancel = context.WithTimeout(t.Context(), tt.within)
					}
					defer cancel()
					down := make(chan error, 1)
					go func() { down <- s.Live.Shutdown(ctx) }()
					synctest.Wait()
					status, want := p.push(`["1","4","hall:1","echo",{"n":4}]`), append(slices.Clone(tt.answers), drain, closed)
					if kind == "stream" && status != http.StatusServiceUnavailable {
						t.Errorf("a POST during the drain: got %d, want 503", status)
					}
					if kind == "phoenix" {
						want = slices.Clone(tt.answers)
						if i := slices.Index(want, behind); i >= 0 { // its handler goes on
							want = slices.Insert(want, i+1, late)
						}
					}
					time.AfterFunc(tt.takes, func() { close(s.Hall.Release) })
					if got := p.rest(); !slices.Equal(got, want) {
						t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
					}
					if err := <-down; err != nil {
						t.Errorf("Shutdown: %v", err)
					}
					s.Hall.WantLeft(t, "hall:1", "ann", channel.Drained)
				})
			})
		}
	}
}

// A client that is drained, and sends more and more while it waits for answers, pays for that
// like any other.
func TestAFloodDuringADrainEndsItsClient(t *testing.T) {
	for kind, open := range map[string]func(*testing.T, *raw.Site) *raw.Socket{
		"phoenix": func(t *testing.T, s *raw.Site) *raw.Socket { return s.Phoenix(t) },
		"chime":   func(t *testing.T, s *raw.Site) *raw.Socket { ws, _ := s.Chime(t); return ws },
	} {
		t.Run(kind, func(t *testing.T) {
			raw.InBubble(t, &http.Server{}, []chime.Option{chime.WithLimits(chime.Limits{FramesPerSecond: 1})}, func(t *testing.T, s *raw.Site) {
				ws := open(t, s).Join("hall:1", "ann")
				ws.Text(`["1","2","hall:1","stay",{}]`)
				s.Hall.WantBegun(t, "ann")
				go func() { _ = s.Live.Shutdown(t.Context()) }()
				synctest.Wait()
				var ended []byte
				p := pusher{next: func() string {
					opcode, text, err := ws.Read()
					if err != nil || opcode == raw.OpClose {
						ended = []byte(text)
						return ""
					}
					return text
				}}
				read := make(chan []string)
				go func() { read <- p.rest() }()
				for range 30 {
					ws.Text(`["1",null,"hall:1","echo",{}]`)
				}
				<-read
				if want := "\x03\xf0rate limited"; string(ended) != want {
					t.Errorf("a client that goes on is closed with %q, want %q", ended, want)
				}
				close(s.Hall.Release)
				s.Hall.WantLeft(t, "hall:1", "ann", channel.Closed)
			})
		})
	}
}

// The contexts of handlers end in time for an answer, and not with those of whoever had
// their turn before: a push is not cut since it comes when half of the time is over.
func TestADrainCutsNoHandlerWhoseClientHasTime(t *testing.T) {
	raw.InBubble(t, &http.Server{}, nil, func(t *testing.T, s *raw.Site) {
		const crowd, within = 400, 8 * time.Second // whose turns fill half of that
		var readers, left sync.WaitGroup
		left.Go(func() {
			for range crowd {
				<-s.Hall.Left
			}
		})
		worked, began := make([]int, crowd), time.Now()
		for i := range crowd {
			p := socketPusher(s.Phoenix(t).Join("hall:1", "ann"))
			readers.Go(func() {
				p.push(`["1","2","hall:1","work",{}]`)
				for text := p.next(); text != ""; text = p.next() {
					if !strings.Contains(text, `"ok"`) {
						t.Errorf("a push that takes %v is answered with %s", raw.Work, text)
					}
					worked[i]++
					if time.Since(began) >= within/2 {
						continue // or it might never be quiet in a moment in which the server looks
					}
					p.push(`["1","2","hall:1","work",{}]`)
				}
			})
		}
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		if err := s.Live.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		readers.Wait()
		left.Wait()
		if most := slices.Max(worked); time.Duration(most)*raw.Work < within/2 {
			t.Errorf("the last turn comes after %d pushes, want half of %v", most, within)
		}
	})
}

// A Shutdown of two seconds is in time for a client that is owed an answer and does not close
// its connection.
func TestAShortShutdownIsInTimeForAClientThatStays(t *testing.T) {
	for kind, open := range pushers {
		t.Run(kind, func(t *testing.T) {
			raw.InBubble(t, &http.Server{}, nil, func(t *testing.T, s *raw.Site) {
				p := open(t, s)
				p.push(`["1","2","hall:1","later",{}]`)
				synctest.Wait()
				read := make(chan []string)
				go func() { read <- p.rest() }()
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				if err := s.Live.Shutdown(ctx); err != nil {
					t.Errorf("Shutdown: %v", err)
				}
				<-read
				s.Hall.WantLeft(t, "hall:1", "ann", channel.Drained)
			})
		})
	}
}

// A client that says goodbye in the middle of a Shutdown, and does not read what it is told then,
// does not hold that up.
func TestAGoodbyeDuringADrainHoldsNothingUp(t *testing.T) {
	raw.InBubble(t, &http.Server{}, nil, func(t *testing.T, s *raw.Site) {
		ws, _ := s.Chime(t)
		ws.Join("hall:1", "ann")
		ws.Text(`["1","2","hall:1","later",{}]`)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
		defer cancel()
		time.AfterFunc(3*time.Second, func() { ws.Text(`[null,null,"chime","goodbye",{}]`) })
		if err := s.Live.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		s.Hall.WantLeft(t, "hall:1", "ann", channel.Closed)
	})
}
