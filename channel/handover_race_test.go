package channel

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore"
)

// The same with goroutines that really run at once, and the same model, which
// is asked when all is over. Run it with -race.
func TestHandOverAtOnce(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		handOverAtOnce(t, func(*testing.T) store.Store { return store.NewMemory(store.MaxBytes(0)) })
	})
	t.Run("bolt", func(t *testing.T) {
		handOverAtOnce(t, func(t *testing.T) store.Store { return openBolt(t) })
	})
}

// openBolt opens a store in a file of its own.
func openBolt(t *testing.T) *boltstore.Store {
	t.Helper()
	s, err := boltstore.Open(filepath.Join(t.TempDir(), "chime.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func handOverAtOnce(t *testing.T, open func(*testing.T) store.Store) {
	const clients, joins, publishers, messages = 8, 40, 3, 250
	start := need.Seed(t)
	for i := range need.Rounds(2, 6) {
		t.Run(fmt.Sprint("round ", i), func(t *testing.T) {
			w := newWorld(t, start+uint64(i), anyKeep, open(t), false)
			w.settled = true
			var publishing, joining sync.WaitGroup
			random := func(k int) *rand.Rand { return rand.New(rand.NewPCG(w.seed, uint64(k+1))) }
			for k := range publishers {
				r := random(k)
				publishing.Go(func() {
					for range messages {
						if err := w.h.Broadcast(context.Background(), pick(r, topicNames...), "said", Binary(padding[:1+r.IntN(100)])); err != nil {
							t.Error(err)
						}
						runtime.Gosched()
					}
				})
			}
			for len(w.clients) < clients {
				w.connect()
			}
			first := w.clients
			publishing.Go(func() {
				r := random(100)
				for range messages {
					topic := pick(r, topicNames...)
					switch dice := r.IntN(20); {
					case dice == 0:
						w.forget(topic)
					case dice < 4:
						w.redact(topic, w.offset(r, topic))
					default:
						event, _, options := w.gossip(r, topic, first)
						if err := w.h.Broadcast(context.Background(), topic, event, nil, options...); err != nil {
							t.Error(err)
						}
					}
					runtime.Gosched()
				}
			})
			var mu sync.Mutex // guards w.clients
			for k, c := range first {
				r := random(200 + k)
				joining.Go(func() {
					for range joins {
						topic := pick(r, topicNames...)
						c.giveUp(topic)
						c.joins(t, w.view(r, topic))
						for range r.IntN(4) {
							switch r.IntN(8) {
							case 0:
								c.giveUp(topic)
								c.says(t, fmt.Sprintf(`[null,%q,%q,"phx_leave",{}]`, w.ref(), topic))
							case 1:
								c.stick(r.IntN(2) == 0)
							case 2:
								c.read(r.IntN(100))
							case 3:
								if r.IntN(5) == 0 {
									c.Close(0, "", Vanished)
								}
							default:
								for range r.IntN(300) { // so that they do not all join at the start
									runtime.Gosched()
								}
							}
						}
						if c.over() {
							mu.Lock()
							c = w.connect()
							mu.Unlock()
						}
					}
				})
			}
			publishing.Wait()
			joining.Wait()
			w.rest(func() {
				if err := w.h.Wait(context.Background()); err != nil {
					t.Error(err)
				}
				for _, c := range w.clients {
					if err := c.tasks.Wait(context.Background()); err != nil {
						t.Error(err)
					}
				}
				if err := w.h.Wait(context.Background()); err != nil {
					t.Error(err)
				}
			})
			if t.Failed() {
				t.Logf("to repeat it, perhaps: CHIME_SEED=%d; %s", w.seed, w.did[0])
			}
		})
	}
}
