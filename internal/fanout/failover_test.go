package fanout

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

// failedOver is a history that has lost its newest messages, in the same epoch.
type failedOver struct {
	store *store.Memory
	short int // so many messages
}

func (h *failedOver) Epoch() string { return h.store.Epoch() }

func (h *failedOver) Read(ctx context.Context, topic string, _ store.Range) (store.Page, error) {
	page, err := h.store.Read(ctx, topic, store.Range{})
	if n := len(page.Messages); err == nil && h.short > 0 {
		page.Top = page.Messages[n-h.short].Prev
		page.Messages = page.Messages[:n-h.short]
	}
	return page, err
}

func TestWhatTheEngineHasLostIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(100)
		h := &failedOver{store: w.history.store}
		w.topic.feed.reader.history = h
		w.publish(t, 3)
		q, m := w.join(t, 100, Want{Last: 3})
		w.topic.Lost()
		synctest.Wait()
		if got := m.failed(); len(got) > 0 {
			t.Fatalf("nothing was lost, and the member failed with %v", got)
		}
		h.short = 1
		w.topic.Lost()
		time.Sleep(settle)
		synctest.Wait()
		if got := m.failed(); len(got) != 1 || !errors.Is(got[0], ErrGap) {
			t.Errorf("the member has a message that was lost, and failed with %v, want %v", got, ErrGap)
		}
		if got := q.offsets(); !slices.Equal(got, []uint64{1, 2, 3}) {
			t.Errorf("it was sent %d, want 1 to 3", got)
		}
	})
}

// An erasure may be among the announcements that are missing.
func TestWhatWasErasedMeanwhileIsNotReplayedWhenAnnouncementsWereMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(100)
		w.publish(t, 3)
		if err := w.history.store.Redact(t.Context(), "a", 2); err != nil { // and it is not announced
			t.Fatal(err)
		}
		w.topic.Lost()
		synctest.Wait()
		q, _ := w.join(t, 100, Want{Last: 3})
		synctest.Wait()
		if got := q.offsets(); !slices.Equal(got, []uint64{1, 3}) {
			t.Errorf("who joined was sent %d, want 1 and 3", got)
		}
	})
}

// busy is a history in whose topic something is published during each read, up to a bound.
type busy struct {
	*store.Memory
	topic *Topic
	reads int
}

func (h *busy) Read(ctx context.Context, topic string, r store.Range) (store.Page, error) {
	page, err := h.Memory.Read(ctx, topic, r)
	if h.reads++; h.reads < 100 {
		m := store.Message{Payload: []byte("{}")}
		at, _ := h.Append(ctx, topic, m, store.Retention{Keep: 1000}, nil)
		m.Offset, m.Prev = at, at-1
		h.topic.Published(broker.Publication{Topic: topic, Epoch: h.Epoch(), Message: m})
	}
	return page, err
}

// While nobody has read that the epoch is another one, all that is announced says so.
func TestAnnouncementsOfAnotherEpochDoNotHoldUpAPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(100)
		w.publish(t, 3)
		h := &busy{Memory: store.NewMemory(), topic: w.topic}
		w.topic.mu.Lock()
		w.topic.feed.reader.history = h
		w.topic.feed.tail.drop()
		w.topic.mu.Unlock()
		q, m := w.join(t, 1000, Want{Last: 3})
		synctest.Wait()
		if h.reads > 10 {
			t.Errorf("%d reads for one join", h.reads)
		}
		got := q.offsets()
		if top := h.topLeft(t); len(got) == 0 || got[len(got)-1] != top {
			t.Errorf("was sent %v and failed with %v, want all up to %d", got, m.failed(), top)
		}
	})
}

// topLeft is the offset of the newest message.
func (h *busy) topLeft(t *testing.T) uint64 {
	page, err := h.Memory.Read(t.Context(), h.topic.name, topAlone)
	if err != nil {
		t.Fatal(err)
	}
	return page.Top
}
