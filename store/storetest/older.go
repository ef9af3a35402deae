package storetest

import (
	"math"
	"slices"
	"testing"

	"github.com/go-chime/chime/store"
)

// older reads the page of up to limit messages before an offset.
func older(before uint64, limit int) store.Range {
	return store.Range{Newest: true, Before: before, Limit: limit}
}

func before(t *testing.T, s store.Store) {
	m := addN(t, s, "a", 3, everything)
	other := addN(t, s, "b", 2, everything)
	m = append(m, addN(t, s, "a", 3, everything)...)
	whole := page(m...)
	for _, c := range []struct {
		before   uint64
		limit    int
		from, to int
		more     bool
	}{
		{m[5].Offset, 0, 0, 5, false},
		{m[5].Offset, 2, 3, 5, true},
		{m[3].Offset, 2, 1, 3, true},
		{m[1].Offset, 2, 0, 1, false},
		{m[2].Offset, 2, 0, 2, false},
		{m[0].Offset, 2, 0, 0, false},
		{1, 2, 0, 0, false},
		{other[1].Offset, 1, 2, 3, true}, // between two of this topic
		{m[5].Offset + 1, 2, 4, 6, true},
		{m[5].Offset + 1_000, 2, 4, 6, true},
		{math.MaxInt64 + 1, 2, 4, 6, true},
		{math.MaxUint64, 9, 0, 6, false},
	} {
		want := whole.only(m[c.from:c.to])
		want.More = c.more
		wantPage(t, s, "a", older(c.before, c.limit), want)
	}
	wantPage(t, s, "a", store.Range{After: m[3].Offset, Before: m[1].Offset}, whole.only(m[4:])) // without Newest it means nothing
	wantPage(t, s, "unknown", older(m[3].Offset, 2), page())

	// Page by page to the beginning; what was redacted is no hole.
	if err := s.Redact(t.Context(), "a", m[2].Offset); err != nil {
		t.Fatal(err)
	}
	var all []store.Message
	for p := (store.Page{More: true}); p.More; all = slices.Concat(p.Messages, all) {
		at := uint64(0)
		if len(all) > 0 {
			at = all[0].Offset
		}
		if p = read(t, s, "a", older(at, 2)); !p.Complete || len(p.Messages) == 0 {
			t.Fatalf("before %d: got complete %t and %s, want all of it, page by page", at, p.Complete, list(p.Messages))
		}
	}
	if d := diff(all, slices.Delete(slices.Clone(m), 2, 3)); d != "" {
		t.Errorf("all pages together: %s", d)
	}
}

func missed(t *testing.T, s store.Store) {
	five := store.Retention{Keep: 5}
	m := addN(t, s, "a", 8, five)
	trimmed := page(m...).incomplete()
	wantPage(t, s, "a", older(m[7].Offset, 2), trimmed.only(m[5:7]).more())
	wantPage(t, s, "a", older(m[5].Offset, 2), trimmed.only(m[3:5]))
	wantPage(t, s, "a", older(m[5].Offset, 9), trimmed.only(m[3:5]))
	wantPage(t, s, "a", older(m[3].Offset, 2), trimmed.only(nil)) // all that is kept was read
	wantPage(t, s, "a", older(m[1].Offset, 2), trimmed.only(nil)) // it was, when the reader read it

	if err := s.Forget(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	wantPage(t, s, "a", older(m[5].Offset, 2), trimmed.only(nil))
	next := addN(t, s, "a", 2, five)
	wantPage(t, s, "a", older(m[5].Offset, 2), page(next...).only(nil).incomplete())
	wantPage(t, s, "a", older(next[1].Offset, 2), page(next...).only(next[:1]).incomplete())
}
