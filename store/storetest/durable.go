package storetest

import (
	"testing"

	"github.com/go-chime/chime/store"
)

// reopened gives s a past of each kind, and compares what it has with what again
// opens of it.
func reopened(t *testing.T, s store.Store, again func() store.Store) {
	few := store.Retention{Keep: 3}
	addN(t, s, "all", 10, everything)
	addN(t, s, "few", 10, few)
	m := addN(t, s, "redacted", 3, everything)
	addN(t, s, "forgotten", 3, everything)
	first := add(t, s, "once", keyed("k", "1"), everything)
	second := add(t, s, "once", keyed("second", "1"), everything)
	if err := s.Redact(t.Context(), "once", second.Offset); err != nil {
		t.Fatal(err)
	}
	if err := s.Redact(t.Context(), "redacted", m[1].Offset); err != nil {
		t.Fatal(err)
	}
	if err := s.Forget(t.Context(), "forgotten"); err != nil {
		t.Fatal(err)
	}
	last := add(t, s, "late", text("last"), few)

	topics := []string{"all", "few", "redacted", "forgotten", "once", "late", "unknown"}
	epoch, want := s.Epoch(), map[string][]store.Page{}
	look := func(s store.Store, topic string) (pages []store.Page) {
		for after := range last.Offset + 2 {
			pages = append(pages, read(t, s, topic, store.Range{After: after}))
		}
		return pages
	}
	for _, topic := range topics {
		want[topic] = look(s, topic)
	}
	s = again()
	if s.Epoch() != epoch {
		t.Errorf("epoch: got %q, want %q", s.Epoch(), epoch)
	}
	for _, topic := range topics {
		for after, got := range look(s, topic) {
			p := want[topic][after]
			if d := diff(got.Messages, p.Messages); d != "" || got.Top != p.Top || got.Complete != p.Complete {
				t.Errorf("topic %s, after %d: got top %d, complete %t, want %d, %t; %s", topic, after, got.Top, got.Complete, p.Top, p.Complete, d)
			}
		}
	}
	wantFirst(t, s, "once", keyed("k", "1"), first)
	wantReused(t, s, "once", keyed("k", "2"))
	add(t, s, "once", keyed("second", "2"), everything)
	// The retention is there again, too, and so is the end of the sequence.
	next := add(t, s, "few", text("next"), few)
	if p := read(t, s, "few", all); next.Offset <= last.Offset || len(p.Messages) != few.Keep {
		t.Errorf("next: got offset %d and %d messages, want more than %d, and %d", next.Offset, len(p.Messages), last.Offset, few.Keep)
	}
}
