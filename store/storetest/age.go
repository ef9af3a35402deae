package storetest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/go-chime/chime/store"
)

// The tests here run in a bubble, where sleeping takes no time.

const day = 24 * time.Hour

func at(t *testing.T, s store.Store) {
	now := time.Now()
	for _, c := range []struct {
		name        string
		given, want time.Time
	}{
		{"given", now.Add(-2 * time.Hour), now.Add(-2 * time.Hour)},
		{"before its predecessor", now.Add(-3 * time.Hour), now.Add(-2 * time.Hour)},
		{"given, later", now.Add(-time.Hour), now.Add(-time.Hour)},
		{"to come", now.Add(time.Hour), now},
		{"zero", time.Time{}, now},
	} {
		m := text(c.name)
		m.At = c.given
		if got := add(t, s, "a", m, everything).At; !got.Equal(c.want) {
			t.Errorf("At %s, %v: got %v, want %v", c.name, c.given, got, c.want)
		}
	}
}

func age(t *testing.T, s store.Store) {
	hour := store.Retention{Age: time.Hour}
	m := addN(t, s, "a", 2, hour)
	time.Sleep(40 * time.Minute)
	m = append(m, addN(t, s, "a", 2, hour)...)
	wantPage(t, s, "a", all, page(m...))

	time.Sleep(21 * time.Minute) // nothing happens, but the first two are an hour old
	if err := s.Redact(t.Context(), "a", m[1].Offset); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("redact what has aged: got %v, want %v", err, store.ErrNotFound)
	}
	wantPage(t, s, "a", store.Range{Newest: true}, page(m...).only(m[2:]).incomplete())
	wantPage(t, s, "a", older(m[3].Offset, 9), page(m...).only(m[2:3]).incomplete())
	wantPage(t, s, "a", older(m[1].Offset, 9), page(m...).only(nil).incomplete())
	wantPage(t, s, "a", all, page(m...).only(m[2:]).incomplete())
	wantPage(t, s, "a", store.Range{After: m[0].Offset}, page(m...).only(m[2:]).incomplete())
	wantPage(t, s, "a", store.Range{After: m[1].Offset}, page(m...).only(m[2:]))

	time.Sleep(time.Hour)
	wantPage(t, s, "a", store.Range{Newest: true}, page(m...).only(nil).incomplete())
	wantPage(t, s, "a", store.Range{After: m[2].Offset}, page(m...).only(nil).incomplete())
	wantPage(t, s, "a", store.Range{After: m[3].Offset}, page(m...).only(nil))

	old := text("too late")
	old.At = time.Now().Add(-2 * time.Hour)
	m = append(m, add(t, s, "a", old, hour)) // announced, but not kept
	wantPage(t, s, "a", store.Range{After: m[3].Offset}, page(m...).only(nil).incomplete())
	m = append(m, addN(t, s, "a", 1, hour)...)
	wantPage(t, s, "a", store.Range{After: m[4].Offset}, page(m...).only(m[5:]))
}

func agedStaysAged(t *testing.T, s store.Store) {
	m := addN(t, s, "a", 2, store.Retention{Age: time.Hour})
	time.Sleep(61 * time.Minute)
	m = append(m, addN(t, s, "a", 1, everything)...)
	wantPage(t, s, "a", all, page(m...).only(m[2:]).incomplete())
	time.Sleep(365 * day)
	wantPage(t, s, "a", store.Range{After: m[1].Offset}, page(m...).only(m[2:]))
}

func outlives(t *testing.T, s store.Store) {
	hour := store.Retention{Age: time.Hour}
	m := addN(t, s, "a", 3, hour)
	time.Sleep(29 * day)
	for i := range 100 { // enough for any sweep to come by
		add(t, s, fmt.Sprint("other ", i%10), text("x"), hour)
	}
	wantPage(t, s, "a", store.Range{After: m[2].Offset}, page(m...).only(nil))
	wantPage(t, s, "a", store.Range{After: m[1].Offset}, page(m...).only(nil).incomplete())
	next := add(t, s, "a", text("next"), hour)
	if next.Prev != m[2].Offset {
		t.Errorf("prev after 29 days: got %d, want %d", next.Prev, m[2].Offset)
	}
	wantPage(t, s, "a", store.Range{After: m[2].Offset}, page(next))
}

func anew(t *testing.T, s store.Store) {
	hour := store.Retention{Age: time.Hour}
	forever := addN(t, s, "forever", 1, everything)
	m := addN(t, s, "a", 3, hour)
	time.Sleep(31 * day)
	for i := range 100 { // enough for any sweep to come by
		add(t, s, fmt.Sprint("other ", i%10), text("x"), hour)
	}
	// What follows holds whether or not the store still remembers the topic.
	check := func(want ...store.Message) {
		t.Helper()
		for _, r := range []store.Range{{}, {After: m[0].Offset}, {After: m[1].Offset}} {
			got := read(t, s, "a", r)
			if d := diff(got.Messages, want); d != "" || got.Complete {
				t.Errorf("%+v, 31 days later: complete %t, want false; %s", r, got.Complete, d)
			}
		}
	}
	check()
	next := add(t, s, "a", text("next"), hour)
	if next.Offset <= m[2].Offset || next.Prev != 0 && next.Prev != m[2].Offset {
		t.Errorf("31 days later: got offset %d, prev %d, want more than %d, prev 0 or that", next.Offset, next.Prev, m[2].Offset)
	}
	check(next)
	// Nor does any that begins later, for what may have been there before: it may be one of
	// those that were. But what it has is all of it, since then.
	later := addN(t, s, "later", 2, everything)
	for before, want := range map[uint64]wanted{
		0:                page(later...),
		later[1].Offset:  page(later...).only(later[:1]),
		next.Offset + 99: page(later...),
	} {
		wantPage(t, s, "later", older(before, 0), want)
	}
	wantPage(t, s, "nowhere", older(0, 0), page())
	for _, topic := range []string{"a", "later"} {
		if p := read(t, s, topic, older(m[2].Offset, 0)); len(p.Messages) > 0 || topic == "a" && p.Complete {
			t.Errorf("%s before %d, 31 days later: got %s, complete %t, want nothing, of a incomplete", topic, m[2].Offset, list(p.Messages), p.Complete)
		}
	}
	wantPage(t, s, "a", store.Range{After: next.Offset}, page(next).only(nil))
	wantPage(t, s, "forever", all, page(forever...))
}
