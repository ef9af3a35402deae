package redis

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/internal/redistest"
	"github.com/go-chime/chime/store"
)

// follower is a sink that follows topics as a node does: what does not follow on what it
// has it reads. Calls for one topic come one at a time.
type follower struct {
	t      *testing.T
	broker *Broker
	topics map[string]*followed
}

type followed struct {
	at    atomic.Uint64
	texts []string // of all messages, in their order
	gaps  int      // how often it was told that some are no longer there
}

func (f *follower) Published(p broker.Publication) {
	switch w := f.topics[p.Topic]; {
	case p.Offset <= w.at.Load():
	case p.Prev == w.at.Load():
		w.take(p.Message)
	default:
		f.read(p.Topic)
	}
}

func (w *followed) take(m store.Message) {
	w.texts = append(w.texts, string(m.Payload))
	w.at.Store(m.Offset)
}

func (f *follower) Erased(string, store.Position) {}

func (f *follower) Lost(topic string) { f.read(topic) }

// read takes what the history has, when it can be read.
func (f *follower) read(topic string) {
	w := f.topics[topic]
	for more := true; more; {
		page, err := f.broker.History().Read(f.t.Context(), topic, store.Range{After: w.at.Load(), Limit: 50})
		if err != nil {
			if f.t.Context().Err() != nil {
				return
			}
			continue
		}
		if more = page.More; !page.Complete {
			w.gaps++
		}
		for _, m := range page.Messages {
			w.take(m)
		}
	}
}

// TestNothingIsMissedInSilence has nodes follow what others publish, while connections and
// the engine fail at random.
func TestNothingIsMissedInSilence(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		t.Parallel()
		r := rand.New(rand.NewPCG(need.Seed(t), 0))
		e := program.Start(t)
		prefix, topics := fresh(), []string{"a", "b", "c"}
		var followers []*follower
		var proxies []*proxy
		for range 3 {
			p := newProxy(t, e)
			b := open(t, p.url(), Options{Prefix: prefix, GiveUp: patience, pace: 300 * time.Millisecond})
			f := &follower{t: t, broker: b, topics: map[string]*followed{}}
			for _, topic := range topics {
				f.topics[topic] = &followed{}
			}
			b.Start(f)
			for _, topic := range topics {
				if err := b.Subscribe(t.Context(), topic); err != nil {
					t.Fatal(err)
				}
			}
			followers, proxies = append(followers, f), append(proxies, p)
		}
		var acknowledged sync.Map
		var publishers sync.WaitGroup
		done := make(chan struct{})
		for i, f := range followers {
			for w := range 2 {
				publishers.Go(func() {
					for k := 0; ; k++ {
						select {
						case <-done:
							return
						default:
						}
						topic, text := topics[k%len(topics)], fmt.Sprint(i, ".", w, ".", k)
						switch at, err := f.broker.Publish(t.Context(), say(topic, text), everything); {
						case err == nil:
							acknowledged.Store(topic+" "+text, at.Offset)
						case !errors.Is(err, broker.ErrUncertain):
							t.Errorf("publish: %v", err)
							return
						}
					}
				})
			}
		}
		for range need.Rounds(12, 60) {
			time.Sleep(time.Duration(r.IntN(100)) * time.Millisecond) // others work meanwhile
			p := proxies[r.IntN(len(proxies))]
			switch r.IntN(6) {
			case 0, 1:
				p.cut()
			case 2:
				p.deafen(true)
				time.Sleep(time.Duration(r.IntN(50)) * time.Millisecond)
				p.cut()
				p.deafen(false)
			case 3:
				e.Must(t, "CLIENT", "KILL", "TYPE", "pubsub")
			case 4:
				e.Must(t, "SCRIPT", "FLUSH")
			case 5:
				e.Kill(t)
				e.Begin(t)
			}
		}
		close(done)
		publishers.Wait()
		for _, topic := range topics {
			page := read(t, followers[0].broker, topic, store.Range{})
			var want []string
			for _, m := range page.Messages {
				want = append(want, string(m.Payload))
			}
			if once := slices.Compact(slices.Sorted(slices.Values(want))); len(once) != len(want) {
				t.Errorf("%s: %d messages are there twice", topic, len(want)-len(once))
			}
			acknowledged.Range(func(name, _ any) bool {
				if of, text, _ := strings.Cut(name.(string), " "); of == topic && !slices.Contains(want, text) {
					t.Errorf("%s was acknowledged, and is not there", name)
				}
				return true
			})
			for i, f := range followers {
				w := f.topics[topic]
				redistest.Eventually(t, fmt.Sprintf("node %d has followed %s", i, topic), func() bool { return w.at.Load() == page.Top })
				if !slices.Equal(w.texts, want) || w.gaps > 0 {
					t.Errorf("node %d has followed %d messages of %s, with %d gaps, want %d and none", i, len(w.texts), topic, w.gaps, len(want))
				}
			}
		}
	})
}
