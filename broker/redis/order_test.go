package redis

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/redistest"
	"github.com/go-chime/chime/store"
)

// A topic whose members are slow holds up no other, and what is too much for it is told.
func TestASlowTopicHoldsUpNoOther(t *testing.T) {
	e := redistest.Start(t, "--appendfsync", "no")
	b, w := open(t, e.URL(), Options{feeds: 1}), newWatcher()
	gate := make(chan struct{})
	w.slow = func(p broker.Publication) {
		if p.Topic == "slow" {
			<-gate
		}
	}
	b.Start(w)
	for _, topic := range []string{"slow", "other"} {
		if err := b.Subscribe(t.Context(), topic); err != nil {
			t.Fatal(err)
		}
	}
	const n = maxWaiting + 50
	for i := range n {
		publish(t, b, "slow", fmt.Sprint(i))
	}
	publish(t, b, "other", "x")
	w.wait(t, "other", 1)
	close(gate)
	w.until(t, "it is told that some are missing", func() bool { return w.missed["slow"] == 1 })
	w.mu.Lock()
	list := w.announced["slow"]
	w.mu.Unlock()
	if len(list) < maxWaiting || len(list) >= n || w.missed["other"] != 0 {
		t.Errorf("%d of %d were announced, and of the other topic missed %d, want %d or more, not all, and none", len(list), n, w.missed["other"], maxWaiting)
	}
	publish(t, b, "slow", "last")
	w.wait(t, "slow", len(list)+1)
}

// Nothing is announced after Unsubscribe, which waits for an announcement that goes on.
func TestNothingIsAnnouncedAfterUnsubscribe(t *testing.T) {
	e := redistest.Start(t, "--appendfsync", "no")
	b, w := open(t, e.URL(), Options{}), newWatcher()
	entered, gate := make(chan struct{}), make(chan struct{})
	w.slow = func(p broker.Publication) {
		if string(p.Payload) == "1" {
			close(entered)
			<-gate
		}
	}
	b.Start(w)
	if err := b.Subscribe(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	publish(t, b, "a", "1")
	publish(t, b, "a", "2")
	<-entered
	ended := make(chan struct{})
	go func() {
		b.Unsubscribe("a")
		close(ended)
	}()
	select {
	case <-ended:
		t.Error("it ended while an announcement went on")
	case <-time.After(50 * time.Millisecond): // it has no reason to end
	}
	close(gate)
	<-ended
	publish(t, b, "a", "3")
	if err := b.Subscribe(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	publish(t, b, "a", "4")
	if list := w.wait(t, "a", 2); len(list) != 2 || string(list[1].Payload) != "4" {
		t.Errorf("announced %d, the last %q, want 1 and 4", len(list), list[len(list)-1].Payload)
	}
}

// What can't be read is told as missing, and does not fill the log.
func TestAnAnnouncementThatCannotBeRead(t *testing.T) {
	e := redistest.Start(t, "--appendfsync", "no")
	var log strings.Builder
	b, w := began(t, e.URL(), Options{Log: slog.New(slog.NewTextHandler(&log, nil))}, "a")
	for i, text := range []string{"M 1", "M 1 2 3 4 5 6 7", "M 1 2 3 0 9 9 9", "M x 2 3 0 0 0 0", "E x", "E", "P 1", "P x 1 n", "P 0 x n"} {
		e.Must(t, "PUBLISH", b.names.channel("a"), text)
		w.until(t, text, func() bool { return w.missed["a"] == i+1 })
	}
	for range 50 {
		e.Must(t, "PUBLISH", b.names.channel("a"), "E x")
	}
	w.until(t, "many", func() bool { return w.missed["a"] == 9+50 })
	publish(t, b, "a", "1")
	w.wait(t, "a", 1)
	_ = b.Close() // nothing is logged any more
	if n := strings.Count(log.String(), "an announcement can't be read"); n == 0 || n > 25 {
		t.Errorf("the log says %d times that an announcement can't be read, want ten in ten seconds", n)
	}
}

// What a newer version adds is ignored: docs/operations.md says what that may be.
func TestWhatANewerVersionAddsIsIgnored(t *testing.T) {
	e := redistest.Start(t, "--appendfsync", "no")
	prefix := fresh()
	b, _, w := peer(t, e.URL(), prefix, "one")
	up(t, b, "one")
	first := publish(t, b, "a", "first")
	for _, text := range []string{"X", "", "X 1 2 3\ntext", fmt.Sprintf("E %d later", first), fmt.Sprintf("P 0 %d newer later\n%s", 1, pack(joins("r1")))} {
		e.Must(t, "PUBLISH", b.names.channel("a"), text)
	}
	h := head(&store.Message{Event: "said"}) + "later"
	e.Must(t, "PUBLISH", b.names.channel("a"), fmt.Sprintf("M 0 0 1 0 %d 0 0 later\n%stext", len(h), h))
	if got := w.wait(t, "a", 2)[1]; got.Event != "said" || string(got.Payload) != "text" {
		t.Errorf("got %+v, want the message", got)
	}
	e.Must(t, "PUBLISH", b.names.node("one"), "later 1 2 3\ntext")
	// The node that is newer says more of itself.
	e.Must(t, "HSET", b.names.nodes(), "newer", fmt.Sprintf(`%d {"ID":"newer","Later":{"x":1}}`, time.Now().UnixMicro()))
	up(t, b, "newer one")
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.erased["a"]) != 1 || w.missed["a"] != 0 {
		t.Errorf("told of %v, missed %d, want one erasure, and nothing missed", w.erased["a"], w.missed["a"])
	}
}
