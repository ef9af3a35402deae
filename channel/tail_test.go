package channel

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/transport"
)

var tailStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// tailOf is the tail of a topic that keeps that much. It has not been filled.
func tailOf(keep int, age time.Duration) *tail {
	t := newTail(&route{keep: &store.Retention{Keep: keep, Age: age}, replay: min(keep, 10)})
	return &t
}

// said is a message a minute after the one before.
func said(offset, prev uint64, size int) entry {
	at := tailStart.Add(time.Duration(offset) * time.Minute)
	return entry{wire.NewPush("a", "e", make([]byte, size), offset), prev, at}
}

func run(from, to uint64) (list []entry) {
	for o := from; o <= to; o++ {
		list = append(list, said(o, o-1, 1))
	}
	return list
}

func offsets(list []*wire.Message) (os []uint64) {
	for _, m := range list {
		os = append(os, m.Offset)
	}
	return os
}

// fills fills a tail with the newest that a store has.
func (t *tail) fills(newest []entry, top uint64, whole bool) {
	t.fill(newest, top, startOf(newest, top), whole)
}

func wantTail(t *testing.T, what string, list []*wire.Message, ok bool, want []uint64, wantOK bool) {
	t.Helper()
	if ok != wantOK || !slices.Equal(offsets(list), want) {
		t.Errorf("%s: got %v, %t, want %v, %t", what, offsets(list), ok, want, wantOK)
	}
}

func TestTailKnowsWhatItDoesNotHave(t *testing.T) {
	now := tailStart
	t.Run("what came before the first it saw", func(t *testing.T) {
		tl := tailOf(100, 0)
		tl.append(said(7, 4, 1))
		tl.append(said(9, 7, 1))
		for after, want := range map[uint64][]uint64{4: {7, 9}, 5: {7, 9}, 7: {9}, 8: {9}, 9: nil, 12: nil} {
			list, ok := tl.since(after, 10, now)
			wantTail(t, fmt.Sprint("since ", after), list, ok, want, true)
		}
		list, ok := tl.since(3, 10, now)
		wantTail(t, "since before it", list, ok, nil, false)
		list, ok = tl.since(4, 1, now)
		wantTail(t, "one since", list, ok, []uint64{7}, true)
		list, ok = tl.newest(2, now)
		wantTail(t, "newest 2", list, ok, []uint64{7, 9}, true)
		list, ok = tl.newest(0, now)
		wantTail(t, "newest 0", list, ok, nil, true)
		list, ok = tl.newest(3, now)
		wantTail(t, "newest 3, of which the store may have one", list, ok, nil, false)
	})
	t.Run("a first message, whose past only the store knows", func(t *testing.T) {
		tl := tailOf(100, 0)
		tl.append(said(7, 0, 1))
		list, ok := tl.since(0, 10, now)
		wantTail(t, "since 0", list, ok, nil, false)
		list, ok = tl.since(7, 10, now)
		wantTail(t, "since 7", list, ok, nil, true)
	})
	t.Run("what it has let go, and the store has not", func(t *testing.T) {
		tl := tailOf(1000, 0)
		tl.fills(nil, 0, true)
		for _, e := range run(1, minTail+5) {
			tl.append(e)
		}
		list, ok := tl.since(5, 1, now)
		wantTail(t, "since the last it let go", list, ok, []uint64{6}, true)
		list, ok = tl.since(4, 1, now)
		wantTail(t, "since before", list, ok, nil, false)
		_, ok = tl.newest(minTail+1, now)
		wantTail(t, "one more than it holds", nil, ok, nil, false)
	})
	t.Run("what the store has let go too", func(t *testing.T) {
		tl := tailOf(3, 0)
		tl.fills(nil, 0, true)
		for _, e := range run(1, 5) {
			tl.append(e)
		}
		list, ok := tl.newest(100, now)
		wantTail(t, "newest", list, ok, []uint64{3, 4, 5}, true)
		_, ok = tl.since(1, 10, now)
		wantTail(t, "since one that was trimmed", nil, ok, nil, false)
	})
	t.Run("bytes", func(t *testing.T) {
		tl := tailOf(1000, 0)
		tl.fills(nil, 0, true)
		for i := range uint64(4) {
			tl.append(said(i+1, i, maxTailBytes/3+1))
		}
		list, ok := tl.newest(2, now)
		wantTail(t, "newest 2", list, ok, []uint64{3, 4}, true)
		_, ok = tl.newest(3, now)
		wantTail(t, "newest 3", nil, ok, nil, false)
		tl.append(said(5, 4, 2*maxTailBytes))
		list, ok = tl.since(4, 10, now)
		wantTail(t, "one that is over the bound by itself", list, ok, []uint64{5}, true)
	})
}

func TestTailAges(t *testing.T) {
	tl := tailOf(100, 10*time.Minute)
	tl.fills(run(1, 5), 5, true)
	at := func(m int) time.Time { return tailStart.Add(time.Duration(m) * time.Minute) }
	list, ok := tl.newest(100, at(12))
	wantTail(t, "newest at the 12th minute", list, ok, []uint64{3, 4, 5}, true)
	_, ok = tl.since(1, 10, at(12))
	wantTail(t, "since one whose successor has aged", nil, ok, nil, false)
	list, ok = tl.since(2, 10, at(12))
	wantTail(t, "since the last that has aged", list, ok, []uint64{3, 4, 5}, true)
	list, ok = tl.newest(100, at(15))
	wantTail(t, "newest when all have aged", list, ok, nil, true)
	list, ok = tl.since(5, 10, at(15))
	wantTail(t, "since the last", list, ok, nil, true)
}

func TestTailIsFilled(t *testing.T) {
	now := tailStart
	t.Run("before what was announced meanwhile", func(t *testing.T) {
		tl := tailOf(100, 0)
		for _, e := range run(14, 16) {
			tl.append(e)
		}
		tl.fills(run(11, 15), 15, true) // the store was read after 15
		list, ok := tl.newest(100, now)
		wantTail(t, "newest", list, ok, []uint64{11, 12, 13, 14, 15, 16}, true)
		list, ok = tl.since(10, 100, now)
		wantTail(t, "since 10", list, ok, []uint64{11, 12, 13, 14, 15, 16}, true)
	})
	t.Run("but not before a hole", func(t *testing.T) {
		tl := tailOf(5, 0)
		tl.fills(nil, 0, true)
		for _, e := range run(1, 12) { // of which it holds the last 5, as the store does
			tl.append(e)
		}
		tl.redact(10)
		tl.fills(run(1, 6), 6, true) // read after 6
		list, ok := tl.newest(4, now)
		wantTail(t, "newest 4", list, ok, []uint64{8, 9, 11, 12}, true)
		_, ok = tl.newest(5, now)
		wantTail(t, "newest 5, of which the store may have one", nil, ok, nil, false)
		_, ok = tl.since(6, 100, now)
		wantTail(t, "since what was read", nil, ok, nil, false)
	})
	t.Run("after what was announced meanwhile", func(t *testing.T) {
		tl := tailOf(100, 0)
		for _, e := range run(13, 14) {
			tl.append(e)
		}
		tl.fills(run(11, 16), 16, false) // the store was ahead
		list, ok := tl.since(10, 100, now)
		wantTail(t, "since 10", list, ok, []uint64{11, 12, 13, 14, 15, 16}, true)
	})
	t.Run("of nothing", func(t *testing.T) {
		tl := tailOf(100, 0)
		tl.fills(nil, 9, true)
		list, ok := tl.newest(10, now)
		wantTail(t, "newest", list, ok, nil, true)
		list, ok = tl.since(9, 10, now)
		wantTail(t, "since its top", list, ok, nil, true)
		_, ok = tl.since(8, 10, now)
		wantTail(t, "since before its top", nil, ok, nil, false)
		tl.fills(nil, 0, true)
		_, ok = tl.since(0, 10, now)
		wantTail(t, "since the beginning of what only the store knows to be new", nil, ok, nil, false)
	})
}

func TestTailIsWide(t *testing.T) {
	now := tailStart
	t.Run("and holds all that a join may get", func(t *testing.T) {
		tl := tailOf(1000, 0)
		tl.fills(run(90, 100), 100, false)
		tl.wide = true
		tl.fill(run(11, 110), 110, 7, false) // 8 to 10 have been redacted
		list, ok := tl.since(7, maxReplay, now)
		wantTail(t, "since", list, ok, offsets(messages(run(11, 110))), true)
		_, ok = tl.newest(101, now)
		wantTail(t, "one more than it holds", nil, ok, nil, false)
		tl.narrow()
		list, ok = tl.newest(minTail, now)
		wantTail(t, "when it is narrow again", list, ok, offsets(messages(run(111-minTail, 110))), true)
		_, ok = tl.since(109-minTail, maxReplay, now)
		wantTail(t, "what it has let go", nil, ok, nil, false)
	})
	t.Run("and knows what is too much for a join", func(t *testing.T) {
		const third = maxReplayBytes/3 + 1
		tl := tailOf(1000, 0)
		tl.wide = true
		tl.fills(nil, 0, true)
		for o := range uint64(4) {
			tl.append(said(o+1, o, third))
		}
		list, ok := tl.newest(maxReplay, now)
		wantTail(t, "newest", list, ok, []uint64{3, 4}, true)
		tl.append(said(5, 4, 1)) // with which 2 is still too much
		list, ok = tl.newest(maxReplay, now)
		wantTail(t, "newest with a small one", list, ok, []uint64{3, 4, 5}, true)
		tl.narrow()
		_, ok = tl.newest(3, now)
		wantTail(t, "when it is narrow again", nil, ok, nil, false)
	})
	t.Run("and drops what was announced before a hole", func(t *testing.T) {
		tl := tailOf(1000, 0)
		tl.wide = true
		tl.fills(run(1, 5), 5, true)
		tl.fill(run(9, 12), 12, 8, false) // the store was ahead of its announcements
		list, ok := tl.since(8, maxReplay, now)
		wantTail(t, "since", list, ok, []uint64{9, 10, 11, 12}, true)
		_, ok = tl.since(5, maxReplay, now)
		wantTail(t, "since before the hole", nil, ok, nil, false)
		_, ok = tl.newest(5, now)
		wantTail(t, "newest", nil, ok, nil, false)
	})
}

func TestTailForgetsAndRedacts(t *testing.T) {
	now := tailStart
	tl := tailOf(100, 0)
	tl.fills(run(11, 15), 15, true)
	before, _ := tl.since(10, 10, now)
	for _, o := range []uint64{11, 13, 15, 15, 19} {
		tl.redact(o)
	}
	list, ok := tl.since(10, 10, now)
	wantTail(t, "after redacting", list, ok, []uint64{12, 14}, true)
	wantTail(t, "what was read before", before, true, []uint64{11, 12, 13, 14, 15}, true)
	bytes := 0
	for _, m := range list {
		bytes += m.PayloadSize()
	}
	if tl.bytes != bytes {
		t.Errorf("bytes after redacting: got %d, want %d", tl.bytes, bytes)
	}
}

// Tails that were small when they became wide are filled by what is said later.
func TestWideTailsAreBoundedTogether(t *testing.T) {
	const topics = 120
	h := NewHub(Config{Broker: broker.Local(store.NewMemory()), Log: slog.New(slog.DiscardHandler), Limits: transport.Limits{Topics: topics}})
	h.Channel("{topic}", &scripted{}, History{Keep: 1000, Replay: 50})
	r := newReader(h, "reader")
	say := func(topic, n int, payload any) {
		for range n {
			if err := h.Broadcast(t.Context(), fmt.Sprint("t", topic), "e", payload); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range topics {
		say(i, 65, nil)
		r.says(t, fmt.Sprintf(`["1","1","t%d","phx_join",{"@last":65}]`, i))
	}
	if err := h.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	large := Binary(make([]byte, 64_000))
	for i := range topics {
		say(i, 16, large)
		if got := h.wide.Load(); got > maxWideBytes {
			t.Fatalf("wide tails of %d topics take %d bytes, want %d at the most", i+1, got, maxWideBytes)
		}
	}
	if got := h.wide.Load(); got < maxWideBytes/2 {
		t.Errorf("they take %d bytes: none was filled", got)
	}
	r.Close(0, "", Closed)
	if err := h.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := h.wide.Load(); got != 0 {
		t.Errorf("%d bytes when nobody is in a topic any more, want 0", got)
	}
}

// A page is read, and before it is there much is said and all of that has aged: the
// page must not hide that there was something behind it.
func TestAPageDoesNotHideWhatHasAgedSinceItWasRead(t *testing.T) {
	tail := tailOf(100, time.Minute)
	tail.fill(nil, 3, 3, true)
	for offset := uint64(4); offset <= 10; offset++ {
		tail.append(said(offset, offset-1, 1))
	}
	later := tailStart.Add(time.Hour)
	if list, ok := tail.since(10, 100, later); !ok || len(list) > 0 {
		t.Fatalf("after all that was said: got %d messages and %t, want none and true", len(list), ok)
	}
	tail.fill(nil, 3, 3, true) // read when nothing had been said
	if list, ok := tail.since(3, 100, later); ok {
		t.Errorf("since 3: got %d messages, and that nothing is missing, though 4 to 10 are", len(list))
	}
	if list, ok := tail.newest(5, later); ok {
		t.Errorf("the newest: got %d messages, and that no more are kept, which only the store knows", len(list))
	}
	if _, ok := tail.since(10, 100, later); !ok {
		t.Error("since 10: got false, though nothing was said after it")
	}
}
