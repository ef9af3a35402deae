package nats_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/nats"
	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/store"
)

// follower is a sink that follows topics as a node does: what does not follow on what it has
// it reads.
type follower struct {
	t      *testing.T
	broker *nats.Broker

	mu     sync.Mutex // guards the rest
	topics map[string]*followed
}

type followed struct {
	at    uint64
	texts []string // of all messages, in their order
	gaps  int      // how often a page was not complete
}

func (f *follower) Published(p broker.Publication) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch w := f.topics[p.Topic]; {
	case p.Offset <= w.at:
	case p.Prev == w.at:
		w.take(p.Message)
	default:
		f.read(p.Topic)
	}
}

func (w *followed) take(m store.Message) {
	w.texts = append(w.texts, string(m.Payload))
	w.at = m.Offset
}

func (f *follower) Erased(string, store.Position) {}

func (f *follower) Lost(topic string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name := range f.topics {
		if topic == "" || topic == name {
			f.read(name)
		}
	}
}

// read takes what the history has, when it can be read.
func (f *follower) read(topic string) {
	w := f.topics[topic]
	for more := true; more; {
		page, err := f.broker.History().Read(f.t.Context(), topic, store.Range{After: w.at, Limit: 50})
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

// Three nodes follow what all publish, while their connections are cut and servers end and
// begin again, at random: each message once, in one order, without a gap, and none is lost
// that was acknowledged.
func TestNothingIsMissedWhileServersFail(t *testing.T) {
	r := rand.New(rand.NewPCG(need.Seed(t), 0))
	s := cluster(t)
	p, topics := prefix(), []string{"a", "b", "c"}
	var followers []*follower
	var links []*link
	for range 3 {
		var urls []string
		for _, one := range s.list {
			l := proxy(t, strings.TrimPrefix(one.URL(), "nats://"))
			links = append(links, l)
			urls = append(urls, "nats://chime:s3cret@"+l.address())
		}
		b := open(t, nats.Options{URL: strings.Join(urls, ","), Connect: []client.Option{client.IgnoreDiscoveredServers()}, Prefix: p, Replicas: 3, GiveUp: 60 * time.Second})
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
		followers = append(followers, f)
	}
	var acknowledged sync.Map
	var publishing sync.WaitGroup
	done := make(chan struct{})
	for i, f := range followers {
		for w := range 2 {
			publishing.Go(func() {
				for k := 0; ; k++ {
					select {
					case <-done:
						return
					case <-time.After(time.Millisecond): // fewer, so that reading them all is no matter of time
					}
					topic, text := topics[k%len(topics)], fmt.Sprint(i, ".", w, ".", k)
					switch _, err := f.broker.Publish(t.Context(), said(topic, text), &store.Retention{}); {
					case err == nil:
						acknowledged.Store(topic+" "+text, true)
					case !errors.Is(err, broker.ErrUncertain):
						t.Errorf("publish: %v", err)
						return
					}
				}
			})
		}
	}
	for range need.Rounds(5, 20) {
		time.Sleep(time.Duration(r.IntN(150)) * time.Millisecond) // others work meanwhile
		if r.IntN(3) > 0 {
			l := links[r.IntN(len(links))]
			l.cut()
			l.heal()
			continue
		}
		i := r.IntN(len(s.list))
		_ = s.list[i].Close()
		time.Sleep(time.Duration(r.IntN(100)) * time.Millisecond)
		s.start(t, i)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		if err := s.list[i].Ready(ctx); err != nil { // two at one time are no majority
			t.Error(err)
		}
		cancel()
	}
	close(done)
	publishing.Wait()
	for _, l := range links[:len(s.list)] { // those of the first node: no message that follows will show what it misses
		l.cut()
	}
	last := map[string]store.Position{}
	for _, topic := range topics {
		last[topic] = say(t, followers[1].broker, topic, "last")
	}
	for _, l := range links {
		l.heal()
	}
	for _, topic := range topics {
		last := last[topic]
		page := history(t, followers[0].broker, topic)
		var want []string
		for _, m := range page.Messages {
			want = append(want, string(m.Payload))
		}
		if once := slices.Compact(slices.Sorted(slices.Values(want))); len(once) != len(want) || page.Top != last.Offset || !page.Complete {
			t.Errorf("%s: %d messages are there twice, up to %d, complete %t, want none up to %d", topic, len(want)-len(once), page.Top, page.Complete, last.Offset)
		}
		acknowledged.Range(func(name, _ any) bool {
			if of, text, _ := strings.Cut(name.(string), " "); of == topic && !slices.Contains(want, text) {
				t.Errorf("%s was acknowledged, and is not there", name)
			}
			return true
		})
		for i, f := range followers {
			var w followed
			for end := time.Now().Add(30 * time.Second); w.at != page.Top && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
				f.mu.Lock()
				w = *f.topics[topic]
				f.mu.Unlock()
			}
			if !slices.Equal(w.texts, want) || w.gaps > 0 {
				t.Errorf("node %d has followed %d messages of %s, with %d gaps, want %d and none", i, len(w.texts), topic, w.gaps, len(want))
			}
		}
	}
}
