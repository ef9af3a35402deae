package brokertest

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

// Follower is a sink that follows topics as a node does: what does not follow on what it has it
// reads in the history.
type Follower struct {
	t      *testing.T
	broker broker.Broker
	topics map[string]*followed
}

// followed is one topic, as far as it was followed.
type followed struct {
	mu    sync.Mutex // guards the rest
	came  sync.Cond
	at    uint64
	texts []string // of all messages, in their order
	gaps  int      // how often a page was not complete
}

// Follow starts a broker, and subscribes to topics.
func Follow(t *testing.T, b broker.Broker, topics ...string) *Follower {
	t.Helper()
	f := &Follower{t: t, broker: b, topics: map[string]*followed{}}
	for _, topic := range topics {
		w := &followed{}
		w.came.L = &w.mu
		f.topics[topic] = w
	}
	b.Start(f)
	for _, topic := range topics {
		subscribe(t, b, topic)
	}
	return f
}

// Published implements broker.Sink.
func (f *Follower) Published(p broker.Publication) {
	w := f.topics[p.Topic]
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case p.Offset <= w.at: // ephemeral, or known
	case p.Prev == w.at:
		w.take(p.Message)
	default:
		f.read(p.Topic, w)
	}
}

// Erased implements broker.Sink.
func (f *Follower) Erased(string, store.Position) {}

// Lost implements broker.Sink.
func (f *Follower) Lost(topic string) {
	for name, w := range f.topics {
		if topic == "" || topic == name {
			w.mu.Lock()
			f.read(name, w)
			w.mu.Unlock()
		}
	}
}

// read takes what the history has, when it can be read. w.mu is held.
func (f *Follower) read(topic string, w *followed) {
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

func (w *followed) take(m store.Message) {
	w.texts = append(w.texts, string(m.Payload))
	w.at = m.Offset
	w.came.Broadcast()
}

// Wait returns the texts of all messages of a topic up to an offset, in the order in which they
// came, and how often there was a gap. It returns those that have come when that takes too
// long.
func (f *Follower) Wait(topic string, offset uint64, within time.Duration) (texts []string, gaps int) {
	w := f.topics[topic]
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = until(&w.came, within, func() bool { return w.at >= offset })
	return slices.Clone(w.texts), w.gaps
}
