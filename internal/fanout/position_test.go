package fanout

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/go-chime/chime/store"
)

// holed is a history without some messages: an engine has lost them, or they were erased.
type holed struct {
	*fakeHistory
	missing, erased uint64
}

func (h *holed) Read(ctx context.Context, topic string, r store.Range) (store.Page, error) {
	page, err := h.fakeHistory.Read(ctx, topic, r)
	page.Messages = slices.DeleteFunc(page.Messages, func(m store.Message) bool { return m.Offset == h.missing || m.Offset == h.erased })
	for i := range page.Messages {
		if m := &page.Messages[i]; m.Prev == h.missing { // that has it no more, nor knows of it
			m.Prev = h.missing - 2
		}
	}
	page.Complete = page.Complete && r.After != h.missing
	return page, err
}

// A client that has seen the end of a topic, which an engine then lost, comes to a node that has read
// what was said since: the position is between two messages that follow each other, and that
// there is a gap only the history knows. It is read once for all who have it. One whose last
// message was erased has no gap, and nor has one that did not see what was lost.
func TestAPositionThatWasLostIsAGapWhereTheTailGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(100)
		h := &holed{fakeHistory: w.history, missing: 5, erased: 11}
		w.topic.feed.reader.history = h
		for i := range 15 { // 1, 3, and so on to 15 are of this topic
			if _, err := w.history.store.Append(t.Context(), []string{"a", "b"}[i%2], store.Message{Event: "e", Payload: []byte("{}")}, w.keep, nil); err != nil {
				t.Fatal(err)
			}
		}
		_, p := w.client(100)
		if err := newOwner(w.topic, p, "first").join(Want{Last: 10}); err != nil { // so that all is in memory
			t.Fatal(err)
		}
		for _, c := range []struct {
			since     uint64
			recovered bool
			reads     int
		}{{3, true, 0}, {5, false, 1}, {7, true, 0}, {9, true, 0}, {11, true, 1}, {13, true, 0}, {15, true, 0}} {
			before := w.history.reads
			for range 3 {
				q, p := w.client(100)
				m := newOwner(w.topic, p, "1")
				if err := m.join(Want{Since: &store.Position{Epoch: h.Epoch(), Offset: c.since}}); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if m.start.Recovered != c.recovered || len(m.failed()) > 0 {
					t.Errorf("since %d: recovered %t, failed with %v, want %t", c.since, m.start.Recovered, m.failed(), c.recovered)
				}
				if got := q.offsets(); c.recovered && (len(got) > 0) != (c.since < 15) || !c.recovered && len(got) > 0 {
					t.Errorf("since %d: got %d", c.since, got)
				}
			}
			if got := w.history.reads - before; got > c.reads {
				t.Errorf("since %d: %d reads for three joins, want %d", c.since, got, c.reads)
			}
		}
	})
}
