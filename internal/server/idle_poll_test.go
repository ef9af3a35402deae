package server_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/internal/server"
	"github.com/go-chime/chime/transport"
)

// A poll that is parked has the goroutine that net/http has for its request, and nobody
// else at work for it; between two polls there is none.
func TestAClientThatPollsHasAGoroutineWhileItsPollIsParked(t *testing.T) {
	const clients = 200
	for _, test := range []struct {
		name string
		open func(*testing.T, *hall) (poll func())
	}{
		{"chime", func(t *testing.T, h *hall) func() {
			cr := open(t, h, knock{transport: transport.LongPoll})
			tell(t, <-h.apps, 1)
			cr.polls.wantReply(t, 1, `[null,null,"room:1","said",{"n":1}]`)
			return func() { _ = cr.polls.again(t, h, 1, "").poll() }
		}},
		{"phoenix", func(t *testing.T, h *hall) func() {
			_, token := asPhoenix(t, h, http.MethodGet, "", nil)
			tell(t, <-h.apps, 1)
			_, token = asPhoenix(t, h, http.MethodGet, token, nil)
			return func() { _, _ = asPhoenix(t, h, http.MethodGet, token, nil) }
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inHall(t, server.Config{}, func(t *testing.T, h *hall) {
				polls := make([]func(), clients)
				for i := range polls {
					polls[i] = test.open(t, h)
				}
				synctest.Wait()
				if n := ours(); n != 0 {
					t.Errorf("%d goroutines for %d clients between two polls, want none", n, clients)
				}
				for _, poll := range polls {
					go poll()
				}
				synctest.Wait()
				if n := ours(); n != clients {
					t.Errorf("%d goroutines for %d polls that are parked, want one each", n, clients)
				}
			})
		})
	}
}

// A client whose replies are lost acknowledges nothing, and is there all the same.
func TestAPollIsASignOfLifeThoughItAcknowledgesNothing(t *testing.T) {
	inHall(t, server.Config{}, func(t *testing.T, h *hall) {
		p, a := poller(t, h)
		said := tell(t, a, 1)
		for range 3 {
			p.again(t, h, 0, "0").wantReply(t, 1, said)
			time.Sleep(20 * time.Second)
		}
		p.again(t, h, 1, "0").wantReply(t, 2, beat(1)) // still the same connection
		wantAlive(t, a)
	})
}
