package storetest

import (
	"errors"
	"slices"
	"testing"

	"github.com/go-chime/chime/store"
)

// eraser is a message that takes another one back, or all.
func eraser(offset uint64) store.Message {
	m := text("taken back")
	m.Erases = offset
	return m
}

// addEraser appends one, which is announced with what it erases and kept without.
func addEraser(t *testing.T, s store.Store, topic string, offset uint64, keep store.Retention) store.Message {
	t.Helper()
	m := add(t, s, topic, eraser(offset), keep)
	if m.Erases != offset {
		t.Errorf("announced that %d is erased, want %d", m.Erases, offset)
	}
	m.Erases = 0
	return m
}

func wantNothingErased(t *testing.T, s store.Store, topic string, offset uint64) {
	t.Helper()
	if _, err := s.Append(t.Context(), topic, eraser(offset), store.Retention{Keep: 1}, mute(t)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("append to %q of what erases %d: got %v, want %v", topic, offset, err, store.ErrNotFound)
	}
}

func erase(t *testing.T, s store.Store) {
	m := addN(t, s, "a", 4, everything)
	other := addN(t, s, "b", 1, everything)
	m = append(m, addEraser(t, s, "a", m[1].Offset, store.Retention{Keep: 4}))
	if m[4].Prev != m[3].Offset {
		t.Errorf("prev of what erases: got %d, want %d", m[4].Prev, m[3].Offset)
	}
	left := slices.Delete(slices.Clone(m), 1, 2)
	wantPage(t, s, "a", all, page(m...).only(left)) // nothing was trimmed: it has the room of what it erased
	wantPage(t, s, "a", store.Range{After: m[3].Offset}, page(m...).only(m[4:]))
	for _, offset := range []uint64{m[1].Offset, other[0].Offset, m[4].Offset + 1, m[4].Offset + 100} { // erased, another's, and not given yet
		wantNothingErased(t, s, "a", offset)
	}
	wantPage(t, s, "a", all, page(m...).only(left))
	m = append(m, addEraser(t, s, "a", m[4].Offset, everything)) // what erases can be erased
	wantPage(t, s, "a", all, page(m...).only([]store.Message{m[0], m[2], m[3], m[5]}))
	addN(t, s, "a", 1, store.Retention{Keep: 1})
	wantNothingErased(t, s, "a", m[0].Offset) // which was trimmed
	wantPage(t, s, "b", all, page(other...))
}

func eraseAll(t *testing.T, s store.Store) {
	for range 2 {
		wantNothingErased(t, s, "a", store.All)
		wantPage(t, s, "a", all, page())
	}
	m := []store.Message{add(t, s, "a", keyed("k", "1"), everything)}
	m = append(m, addN(t, s, "a", 2, everything)...)
	other := addN(t, s, "b", 1, everything)
	for n := 3; n < 5; n++ {
		m = append(m, addEraser(t, s, "a", store.All, everything))
		wantPage(t, s, "a", all, page(m...).only(m[n:]).incomplete())
		wantPage(t, s, "a", store.Range{After: m[n-1].Offset}, page(m...).only(m[n:]))
		wantPage(t, s, "a", store.Range{After: m[n-2].Offset}, page(m...).only(m[n:]).incomplete())
	}
	wantPage(t, s, "b", all, page(other...))
	add(t, s, "a", keyed("k", "2"), everything) // whose key is free

	if err := s.Forget(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	last := addEraser(t, s, "b", store.All, everything) // of a topic that has nothing any more
	wantPage(t, s, "b", store.Range{After: other[0].Offset}, page(last))
}
