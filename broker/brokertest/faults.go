package brokertest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

// Faults says what RunFaults has happen.
type Faults struct {
	Seed   uint64
	Rounds int
	// Fail has something fail, and be whole again. Meanwhile it may wait until so many more messages
	// are acknowledged, if the engine takes any.
	Fail func(r *rand.Rand, acknowledged func(more int))
	// Cut and Heal cut off the first node at the end, while another says the last word of each topic:
	// no message that follows shows the node what it has missed. Without them nothing is cut.
	Cut, Heal func()
}

const (
	faultTopics     = 3
	faultPublishers = 2  // on each node
	faultPace       = 20 // messages are acknowledged between two faults, or up to four times as many
	faultPatience   = time.Minute
)

// RunFaults has all nodes publish and follow a few topics while things fail at random, one after
// the other, paced by what is acknowledged. Each node follows each message once, in one order, without a
// gap, and none is lost that was acknowledged. The brokers are those of nodes over one engine which
// is empty; they are not started, and wait for it for a minute. The caller prints the seed.
func RunFaults(t *testing.T, brokers []broker.Broker, how Faults) {
	var topics []string
	for i := range faultTopics {
		topics = append(topics, fmt.Sprint("faults:", i))
	}
	var nodes []*Follower
	for _, b := range brokers {
		nodes = append(nodes, Follow(t, b, topics...))
	}
	w := &words{said: map[string]bool{}}
	w.more.L = &w.mu
	done := make(chan struct{})
	var publishing sync.WaitGroup
	for i, b := range brokers {
		for k := range faultPublishers {
			publishing.Go(func() { w.keepSaying(t, b, fmt.Sprint(i, ".", k), topics, done) })
		}
	}
	r := rand.New(rand.NewPCG(how.Seed, 0))
	for range how.Rounds {
		w.wait(t, faultPace+r.IntN(3*faultPace))
		how.Fail(r, func(more int) { w.wait(t, more) })
	}
	close(done)
	publishing.Wait()
	if how.Cut != nil {
		how.Cut()
		for _, topic := range topics {
			w.say(t, brokers[1], topic, "last")
		}
		how.Heal()
	}
	for _, topic := range topics {
		w.compare(t, topic, nodes)
	}
}

// words are what publishers know to be said.
type words struct {
	mu   sync.Mutex // guards said
	more sync.Cond
	said map[string]bool // by topic and text
}

func (w *words) keepSaying(t *testing.T, b broker.Broker, who string, topics []string, done chan struct{}) {
	for k := 0; !t.Failed(); k++ {
		select {
		case <-done:
			return
		default:
			w.say(t, b, topics[k%len(topics)], fmt.Sprint(who, ".", k))
		}
	}
}

func (w *words) say(t *testing.T, b broker.Broker, topic, what string) {
	switch _, err := b.Publish(t.Context(), text(topic, what), everything); {
	case err == nil:
		w.mu.Lock()
		defer w.mu.Unlock()
		w.said[topic+" "+what] = true
		w.more.Broadcast()
	case !errors.Is(err, broker.ErrUncertain):
		t.Errorf("publish: %v", err)
	}
}

// wait returns when n more are said.
func (w *words) wait(t *testing.T, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	want := len(w.said) + n
	if !until(&w.more, faultPatience, func() bool { return len(w.said) >= want }) {
		t.Errorf("no %d messages more were acknowledged within %v", n, faultPatience)
	}
}

// compare holds what the history has of a topic, and what each node has followed, to what was
// acknowledged.
func (w *words) compare(t *testing.T, topic string, nodes []*Follower) {
	page := read(t, nodes[0].broker.History(), topic, store.Range{})
	var want []string
	for _, m := range page.Messages {
		want = append(want, string(m.Payload))
	}
	if once := slices.Compact(slices.Sorted(slices.Values(want))); len(once) != len(want) || !page.Complete {
		t.Errorf("%s: %d messages are there twice, complete %t, want none, and all", topic, len(want)-len(once), page.Complete)
	}
	there := map[string]bool{}
	for _, text := range want {
		there[topic+" "+text] = true
	}
	w.mu.Lock()
	for name := range w.said {
		if len(name) > len(topic) && name[:len(topic)] == topic && !there[name] {
			t.Errorf("%s was acknowledged, and is not there", name)
		}
	}
	w.mu.Unlock()
	for i, f := range nodes {
		texts, gaps := f.Wait(topic, page.Top, faultPatience)
		if !slices.Equal(texts, want) || gaps > 0 {
			t.Errorf("node %d has followed %d messages of %s, with %d gaps, want %d and none", i, len(texts), topic, gaps, len(want))
		}
	}
}
