package fanout

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/go-chime/chime/broker"
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
		w.join(t, 100, Want{Last: 10}) // so that all is in memory
		for _, c := range []struct {
			since     uint64
			recovered bool
			reads     int
		}{{3, true, 0}, {5, false, 1}, {7, true, 0}, {9, true, 0}, {11, true, 1}, {13, true, 0}, {15, true, 0}} {
			before := w.history.reads
			for range 3 {
				q, m := w.join(t, 100, Want{Since: &store.Position{Epoch: h.Epoch(), Offset: c.since}})
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

// Members have seen the end of a topic, which an engine then lost, or which was erased. Before
// they read what was said since, somebody has who comes from further back: it is in memory then,
// and whether they miss something only the history knows, which is asked once.
func TestAMemberHasSeenWhatWasLostAndOthersHaveReadOn(t *testing.T) {
	for _, c := range []struct {
		name            string
		missing, erased uint64
	}{{"lost", 5, 99}, {"erased", 99, 5}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(100)
				h := &holed{fakeHistory: w.history, missing: 99, erased: 99}
				w.topic.feed.reader.history = h
				said := func() {
					for _, topic := range []string{"a", "b"} {
						if _, err := w.history.store.Append(t.Context(), topic, store.Message{Event: "e", Payload: []byte("{}")}, w.keep, nil); err != nil {
							t.Fatal(err)
						}
					}
				}
				for range 3 { // 1, 3, 5 of this topic
					said()
				}
				var members []*fakeOwner
				var queues []*fakeQueue
				var pagers []*Pager
				for range 3 {
					q, p := w.client(100)
					m := newOwner(w.topic, p, "1")
					if err := m.join(Want{Last: 10}); err != nil {
						t.Fatal(err)
					}
					if err := p.Claim(t.Context()); err != nil { // it is not sent a page until that is released
						t.Fatal(err)
					}
					members, queues, pagers = append(members, m), append(queues, q), append(pagers, p)
				}
				h.missing, h.erased = c.missing, c.erased
				said()
				w.topic.Published(broker.Publication{Topic: "a", Epoch: h.Epoch(), Message: store.Message{Event: "e", Payload: []byte("{}"), Offset: 7, Prev: 3}})
				_, p := w.client(100)
				if err := newOwner(w.topic, p, "other").join(Want{Since: &store.Position{Epoch: h.Epoch(), Offset: 3}}); err != nil {
					t.Fatal(err)
				}
				before := w.history.reads
				for _, p := range pagers {
					p.Release()
				}
				synctest.Wait()
				for i, m := range members {
					fails, got := m.failed(), queues[i].offsets()
					if c.erased == 5 && (len(fails) > 0 || !slices.Equal(got, []uint64{1, 3, 5, 7})) {
						t.Errorf("after an erasure a member was sent %d and failed with %v, want 7 at the end", got, fails)
					}
					if c.missing == 5 && (len(fails) != 1 || !errors.Is(fails[0], ErrGap) || !slices.Equal(got, []uint64{1, 3, 5})) {
						t.Errorf("a member has seen what was lost, was sent %d and failed with %v, want %v", got, fails, ErrGap)
					}
				}
				if got := w.history.reads - before; got != 1 {
					t.Errorf("%d reads for three members, want 1", got)
				}
			})
		})
	}
}
