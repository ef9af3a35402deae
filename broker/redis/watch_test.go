package redis

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

// watcher is a sink that notes what it is told.
type watcher struct {
	slow func(p broker.Publication) // called first, if set

	mu        sync.Mutex // guards what follows
	announced map[string][]broker.Publication
	erased    map[string][]store.Position
	missed    map[string]int // how often it was told that something may be missing
	changed   chan struct{}  // closed with the next
}

func newWatcher() *watcher {
	return &watcher{announced: map[string][]broker.Publication{}, erased: map[string][]store.Position{}, missed: map[string]int{}, changed: make(chan struct{})}
}

func (w *watcher) note(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *watcher) Published(p broker.Publication) {
	if w.slow != nil {
		w.slow(p)
	}
	w.note(func() { w.announced[p.Topic] = append(w.announced[p.Topic], p) })
}

func (w *watcher) Erased(topic string, at store.Position) {
	w.note(func() { w.erased[topic] = append(w.erased[topic], at) })
}

func (w *watcher) Lost(topic string) { w.note(func() { w.missed[topic]++ }) }

// until waits until f, which is called with w locked, says so.
func (w *watcher) until(t testing.TB, what string, f func() bool) {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		w.mu.Lock()
		ok, changed := f(), w.changed
		w.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			t.Fatalf("%s: not within %v: announced %d, missed %v", what, patience, len(w.announced), w.missed)
		}
	}
}

// wait returns what was announced in a topic when that is n.
func (w *watcher) wait(t testing.TB, topic string, n int) []broker.Publication {
	t.Helper()
	w.until(t, fmt.Sprintf("%d announcements in %q", n, topic), func() bool { return len(w.announced[topic]) >= n })
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.announced[topic]
}

// began returns a broker that has begun, and what watches it, in these topics.
func began(t testing.TB, url string, o Options, topics ...string) (*Broker, *watcher) {
	t.Helper()
	b, w := open(t, url, o), newWatcher()
	b.Start(w)
	for _, topic := range topics {
		if err := b.Subscribe(t.Context(), topic); err != nil {
			t.Fatal(err)
		}
	}
	return b, w
}

var everything = &store.Retention{}

func say(topic, text string) broker.Publication {
	return broker.Publication{Topic: topic, Message: store.Message{Event: "said", Payload: []byte(text)}}
}

// publish returns the offset of what it publishes.
func publish(t testing.TB, b *Broker, topic, text string) uint64 {
	t.Helper()
	at, err := b.Publish(t.Context(), say(topic, text), everything)
	if err != nil {
		t.Fatal(err)
	}
	return at.Offset
}

func read(t testing.TB, b *Broker, topic string, r store.Range) store.Page {
	t.Helper()
	page, err := b.History().Read(t.Context(), topic, r)
	if err != nil {
		t.Fatal(err)
	}
	return page
}

// texts are the payloads of a page, one a line.
func texts(page store.Page) (all string) {
	for _, m := range page.Messages {
		all += string(m.Payload) + "\n"
	}
	return all
}
