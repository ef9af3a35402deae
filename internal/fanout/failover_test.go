package fanout

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

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
		w.topic.reader.history = h
		w.publish(t, 3)
		q, p := w.client(100)
		m := newOwner(w.topic, p, "1")
		if err := m.join(Want{Last: 3}); err != nil {
			t.Fatal(err)
		}
		w.topic.Lost()
		synctest.Wait()
		if got := m.failed(); len(got) > 0 {
			t.Fatalf("nothing was lost, and the member failed with %v", got)
		}
		h.short = 1
		w.topic.Lost()
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
		q, p := w.client(100)
		if err := newOwner(w.topic, p, "1").join(Want{Last: 3}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := q.offsets(); !slices.Equal(got, []uint64{1, 3}) {
			t.Errorf("who joined was sent %d, want 1 and 3", got)
		}
	})
}
