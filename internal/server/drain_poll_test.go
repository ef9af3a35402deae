package server_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/internal/server"
	"github.com/go-chime/chime/transport"
)

// A server that shuts down can tell a client that polls only when it asks. Each that does
// is told, and the others are waited for no longer than a farewell may take.
func TestADrainOfAThousandThatPoll(t *testing.T) {
	const clients, window, farewell = 1000, 10 * time.Second, 5 * time.Second
	for _, tt := range []struct {
		name      string
		drain     time.Duration // the window; 0 is the default
		lives     func(*pollCarrier) (end string)
		farewells int // that are read
		within    time.Duration
	}{
		{"and poll no more", 0, nil, 0, window + farewell},
		{"and poll no more, in half of the time", window / 2, nil, 0, (window + farewell) / 2},
		{"and are parked", 0, (*pollCarrier).untilItEnds, clients, window},
		{"now and then", 0, func(p *pollCarrier) string {
			for p.hold = "0"; ; time.Sleep(4 * time.Second) {
				if end := p.ask(); end != "" {
					return end
				}
			}
		}, clients, window + 4*time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inHall(t, server.Config{Drain: tt.drain}, func(t *testing.T, h *hall) {
				synctest.Wait()
				before := goroutines()
				var apps []*app
				var living sync.WaitGroup
				var farewells atomic.Int64
				for range clients {
					cr := mustOpen(t, h, knock{transport: transport.LongPoll})
					apps = append(apps, <-h.apps)
					if tt.lives == nil {
						_ = cr.plug.Close()
						continue
					}
					living.Go(func() {
						defer cr.plug.Close()
						end := tt.lives(cr.polls)
						if strings.Contains(end, `"drain",{"retry_ms":`) && strings.Contains(end, `"closed",{"code":1012,"reason":"drain"}`) {
							farewells.Add(1)
						} else {
							t.Errorf("the last replies are %q, want drain and closed", end)
						}
					})
				}
				synctest.Wait()
				began := time.Now()
				if err := h.server.Shutdown(context.Background()); err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took > tt.within {
					t.Errorf("Shutdown took %v, want at most %v", took, tt.within)
				}
				living.Wait()
				if got := int(farewells.Load()); got != tt.farewells {
					t.Errorf("%d farewells were read, want %d", got, tt.farewells)
				}
				for _, a := range apps {
					if len(a.closed) != 1 {
						t.Fatalf("Closed was called %d times, want 1", len(a.closed))
					}
					if got := <-a.closed; got.why != transport.Drained {
						t.Fatalf("Closed(%s), want Closed(%s)", got.why, transport.Drained)
					}
				}
				time.Sleep(time.Minute) // for connections of HTTP
				synctest.Wait()
				if n := h.server.Len(); n != 0 {
					t.Errorf("Len is %d, want 0", n)
				}
				if n := goroutines(); n > before+slack {
					t.Errorf("%d goroutines, %d before", n, before)
				}
			})
		})
	}
}

// untilItEnds polls until the client socket ends, and returns the reply that says so.
func (p *pollCarrier) untilItEnds() string {
	for {
		if end := p.ask(); end != "" {
			return end
		}
	}
}

// ask polls, and returns the reply if it is the last.
func (p *pollCarrier) ask() (end string) {
	before := slices.DeleteFunc(p.frames, func(f string) bool { return !strings.Contains(f, `"chime","drain"`) }) // it may come in a reply of its own
	p.frames = nil
	if err := p.poll(); err != nil {
		return err.Error()
	}
	p.frames = append(before, p.frames...)
	if all := strings.Join(p.frames, " "); strings.Contains(all, `"chime","closed"`) {
		return all
	}
	return ""
}

// Whoever has a time for a Shutdown keeps it, though clients have gone that poll: the
// server knows nothing of that for 35 s.
func TestADrainKeepsItsTimeThoughClientsPollNoMore(t *testing.T) {
	for _, has := range []time.Duration{time.Second, 4 * time.Second, 8 * time.Second, time.Minute} {
		t.Run(has.String(), func(t *testing.T) {
			inHall(t, server.Config{}, func(t *testing.T, h *hall) {
				for range 400 {
					mustOpen(t, h, knock{transport: transport.LongPoll})
					<-h.apps
				}
				ctx, cancel := context.WithTimeout(context.Background(), has)
				defer cancel()
				if err := h.server.Shutdown(ctx); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// So it does though clients are there that read nothing.
func TestADrainKeepsItsTimeThoughClientsDoNotRead(t *testing.T) {
	onEach(t, server.Config{}, func(t *testing.T, b *bubble, _ line, c *client) {
		if err := c.cs.Send(pad(100_000), ""); err != nil { // more than a window of HTTP/2
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		if err := b.server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
}
