package fanout

import (
	"slices"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

var tailStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// said is a message a minute after the one before.
func said(offset, prev uint64, size int) store.Message {
	return store.Message{Offset: offset, Prev: prev, Event: "e", Payload: make([]byte, size), At: tailStart.Add(time.Duration(offset) * time.Minute)}
}

// run are messages that follow each other.
func run(from, to uint64) (list []store.Message) {
	for o := from; o <= to; o++ {
		list = append(list, said(o, o-1, 1))
	}
	return list
}

// announces appends messages as announcements do.
func (t *tail) announces(list ...store.Message) {
	for _, m := range list {
		if t.place(&broker.Publication{Message: m, Epoch: "e"}) == next {
			t.append(messageOf("a", &m), m.At)
		}
	}
}

// reads takes the newest of a history that goes farther back, as far as a limit goes.
func (t *tail) reads(list []store.Message, top uint64, limit int) {
	t.take(entriesOf("a", list), store.Range{Newest: true, Limit: limit}, store.Page{Messages: list, Epoch: "e", Top: top, More: len(list) == limit})
}

// readsAfter takes what follows an offset.
func (t *tail) readsAfter(offset uint64, list []store.Message, top uint64) {
	t.take(entriesOf("a", list), store.Range{After: offset}, store.Page{Messages: list, Epoch: "e", Top: top, Complete: true})
}

func (t *tail) offsets() (list []uint64) {
	for _, e := range t.entries {
		list = append(list, e.m.Offset)
	}
	return list
}

func wantTail(t *testing.T, tl *tail, base, top uint64, want ...uint64) {
	t.Helper()
	if tl.base != base || tl.top != top || !slices.Equal(tl.offsets(), want) {
		t.Errorf("got %v after %d up to %d, want %v after %d up to %d", tl.offsets(), tl.base, tl.top, want, base, top)
	}
}

func wantNewest(t *testing.T, tl *tail, n int, want uint64, wantOK bool) {
	t.Helper()
	if got, ok := tl.newest(n); ok != wantOK || ok && got != want {
		t.Errorf("the newest %d: got %d, %t, want %d, %t", n, got, ok, want, wantOK)
	}
}

func TestATailIsWhatFollowsItsBase(t *testing.T) {
	t.Run("that is before the first announcement", func(t *testing.T) {
		tl := &tail{keep: 100}
		tl.announces(said(7, 4, 1), said(9, 7, 1))
		wantTail(t, tl, 4, 9, 7, 9)
		wantNewest(t, tl, 2, 6, true)
		wantNewest(t, tl, 3, 0, false) // only the history knows what was before
	})
	t.Run("or what was read", func(t *testing.T) {
		tl := &tail{keep: 100}
		tl.reads(run(3, 5), 5, 3)
		wantTail(t, tl, 2, 5, 3, 4, 5)
		wantNewest(t, tl, 4, 0, false)
		tl.announces(said(8, 5, 1))
		wantTail(t, tl, 2, 8, 3, 4, 5, 8)
	})
	t.Run("where what was redacted came last, too", func(t *testing.T) {
		tl := &tail{keep: 100}
		tl.reads(nil, 9, 50)
		tl.reads(run(3, 5), 9, 3)
		wantTail(t, tl, 2, 9, 3, 4, 5)
	})
	t.Run("and all there is, if less was read than asked for", func(t *testing.T) {
		tl := &tail{keep: 100}
		tl.reads(run(3, 5), 5, 50)
		wantNewest(t, tl, 50, 2, true)
		tl.reads(nil, 5, 50) // nothing that is retained: those have aged
		wantNewest(t, tl, 50, 2, true)
	})
	t.Run("nothing for an empty topic, whose past only the history knows", func(t *testing.T) {
		tl := &tail{keep: 100}
		tl.reads(nil, 0, 50)
		wantNewest(t, tl, 50, 0, true)
		if tl.recovers(0) {
			t.Error("it recovers the beginning")
		}
		tl.announces(said(1, 0, 1))
		wantTail(t, tl, 0, 1, 1)
		if tl.recovers(0) {
			t.Error("it recovers the beginning")
		}
		tl.readsAfter(0, run(1, 1), 1)
		if !tl.recovers(0) {
			t.Error("it does not recover the beginning, of which the history has said that it is one")
		}
	})
	t.Run("and grows at its base by what meets it", func(t *testing.T) {
		tl := &tail{keep: 100}
		tl.announces(run(10, 12)...)
		tl.readsAfter(5, run(6, 11), 11)
		wantTail(t, tl, 5, 12, 6, 7, 8, 9, 10, 11, 12)
	})
	t.Run("but not by what does not", func(t *testing.T) {
		tl := &tail{keep: 100}
		tl.announces(run(10, 12)...)
		tl.readsAfter(5, run(6, 8), 8)
		wantTail(t, tl, 9, 12, 10, 11, 12)
		tl.reads(nil, 8, 50)
		wantNewest(t, tl, 50, 0, false)
	})
	t.Run("nor by what is still to be announced", func(t *testing.T) {
		tl := &tail{keep: 100}
		tl.announces(run(10, 12)...)
		tl.readsAfter(8, run(9, 15), 15)
		wantTail(t, tl, 8, 12, 9, 10, 11, 12)
	})
}

func TestATailSeesWhatIsMissing(t *testing.T) {
	tl := &tail{keep: 100}
	tl.reads(run(1, 3), 3, 50)
	for _, c := range []struct {
		p    broker.Publication
		want follow
	}{
		{broker.Publication{Message: said(4, 3, 1), Epoch: "e"}, next},
		{broker.Publication{Message: said(9, 3, 1), Epoch: "e"}, next}, // offsets are not dense
		{broker.Publication{Message: said(3, 2, 1), Epoch: "e"}, old},
		{broker.Publication{Message: said(9, 8, 1), Epoch: "e"}, missing},
		{broker.Publication{Message: said(9, 0, 1), Epoch: "e"}, missing}, // the topic was forgotten, and begins anew
		{broker.Publication{Message: said(4, 3, 1), Epoch: "other"}, foreign},
	} {
		if got := tl.place(&c.p); got != c.want {
			t.Errorf("%d behind %d of epoch %s: got %d, want %d", c.p.Offset, c.p.Prev, c.p.Epoch, got, c.want)
		}
	}
}

func TestATailHoldsNoMoreThanAJoinIsReplayed(t *testing.T) {
	t.Run("in messages", func(t *testing.T) {
		tl := &tail{keep: 1000}
		tl.announces(run(1, MaxReplay+10)...)
		if n := len(tl.entries); n != MaxReplay || tl.base != 10 {
			t.Errorf("got %d messages after %d, want %d after 10", n, tl.base, MaxReplay)
		}
	})
	t.Run("nor than its history keeps", func(t *testing.T) {
		tl := &tail{keep: 3}
		tl.reads(run(1, 3), 3, 3)
		tl.announces(run(4, 5)...)
		wantTail(t, tl, 2, 5, 3, 4, 5)
	})
	t.Run("in bytes, and knows that a join is replayed no more", func(t *testing.T) {
		const third = maxReplayBytes/3 + 1
		tl := &tail{keep: 1000}
		tl.announces(said(1, 0, third), said(2, 1, third), said(3, 2, third), said(4, 3, third))
		wantTail(t, tl, 2, 4, 3, 4)
		wantNewest(t, tl, MaxReplay, 2, true)
		tl.announces(said(5, 4, 1)) // with which 2 is still too much
		wantNewest(t, tl, MaxReplay, 2, true)
	})
	t.Run("but one message, however large", func(t *testing.T) {
		tl := &tail{keep: 1000}
		tl.announces(said(1, 0, 10), said(2, 1, 2*maxReplayBytes))
		wantTail(t, tl, 1, 2, 2)
	})
}

func TestATailAges(t *testing.T) {
	tl := &tail{keep: 100, age: 10 * time.Minute}
	tl.announces(run(1, 20)...)
	tl.expire(tailStart.Add(25 * time.Minute))
	wantTail(t, tl, 15, 20, 16, 17, 18, 19, 20)
	if tl.covers(14) || !tl.covers(15) {
		t.Error("it covers what has aged, or not what has not")
	}
	t.Run("and a page that was read before does not hide that", func(t *testing.T) {
		tl := &tail{keep: 100, age: time.Minute}
		tl.reads(nil, 3, 50)
		tl.whole = false
		tl.announces(run(4, 10)...)
		tl.expire(tailStart.Add(time.Hour))
		tl.reads(nil, 3, 50) // read when nothing had been published
		if tl.covers(3) {
			t.Error("it covers 3, though 4 to 10 have aged")
		}
		wantNewest(t, tl, 5, 0, false)
		if !tl.covers(10) {
			t.Error("it does not cover its top")
		}
	})
}

func TestATailErases(t *testing.T) {
	tl := &tail{keep: 100}
	tl.reads(run(11, 15), 15, 50)
	before := tl.offsets()
	entries := tl.entries
	for _, o := range []uint64{11, 13, 15, 15, 19} {
		tl.erase(o)
	}
	wantTail(t, tl, 10, 15, 12, 14)
	for i, e := range entries {
		if e.m.Offset != before[i] {
			t.Errorf("entry %d of what was looked at before has changed to %d", i, e.m.Offset)
		}
	}
	wantNewest(t, tl, 2, 11, true)
	wantNewest(t, tl, 3, 0, false) // the history may have what there was no room for
	payload, size := 0, 0
	for _, e := range tl.entries {
		payload, size = payload+e.m.PayloadSize(), size+e.size()
	}
	if tl.payload != payload || tl.size != size {
		t.Errorf("got %d bytes of payload and %d in all, want %d and %d", tl.payload, tl.size, payload, size)
	}
	tl.floor = 9
	tl.erase(0)
	wantTail(t, tl, 15, 15)
	if tl.floor != 0 || tl.payload != 0 || tl.size != 0 {
		t.Errorf("forgotten: floor %d, %d bytes, want none", tl.floor, tl.payload)
	}
}

// A tail that takes a page may drop the first of it at once. The member that has read the
// page is still to be sent all.
func TestAPageIsWholeThoughTheTailDropsSomeOfIt(t *testing.T) {
	list := run(1, 5)
	tl := &tail{keep: 3}
	tl.reset("e", 5)
	entries := entriesOf("a", list)
	tl.take(entries, store.Range{}, store.Page{Messages: list, Epoch: "e", Top: 5, Complete: true})
	wantTail(t, tl, 2, 5, 3, 4, 5)
	tl.announces(said(6, 5, 1))
	wantTail(t, tl, 3, 6, 4, 5, 6)
	for i, e := range entries {
		if e.m == nil || e.m.Offset != list[i].Offset {
			t.Errorf("message %d of the page: got %v, want offset %d", i, e.m, list[i].Offset)
		}
	}
}
