package queue

import (
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/internal/wire"
)

// written takes the oldest message as one that will not be asked for again.
func written(q *Queue) Item {
	it, _ := q.Next()
	q.Forget()
	return it
}

func TestQueueIsASlice(t *testing.T) {
	random := rand.New(rand.NewPCG(need.Seed(t), 0))
	var q Queue
	var model []Item
	bytes := 0
	check := func(step int, got Item) {
		t.Helper()
		if want := model[0]; got != want {
			t.Fatalf("step %d: got %v, want %v", step, got, want)
		}
		bytes -= model[0].Size()
		model = model[1:]
	}
	grow := 3 // of 6: the queue comes to be long, and empty again
	for step := range 200_000 {
		if step%500 == 0 {
			grow = 1 + random.IntN(5)
		}
		switch {
		case step%3000 == 2999:
			q.Clear()
			model, bytes = nil, 0
		case random.IntN(6) < grow:
			it := Item{wire.NewPush("t", "e", make([]byte, random.IntN(100)), 0), strconv.Itoa(step)}
			q.Push(it)
			model, bytes = append(model, it), bytes+it.Size()
		case len(model) > 0:
			check(step, written(&q))
		}
		if int(q.n) != len(model) || q.bytes != bytes {
			t.Fatalf("step %d: got %d messages of %d bytes, want %d of %d", step, q.n, q.bytes, len(model), bytes)
		}
		kept := 0
		for _, slots := range [][]Item{q.first[:], q.ring} {
			for _, it := range slots {
				if it != (Item{}) {
					kept++
				}
			}
		}
		if kept != int(q.n) {
			t.Fatalf("step %d: the queue keeps %d messages alive, want the %d in it", step, kept, q.n)
		}
		if q.n == 0 && len(q.ring) > keepRing {
			t.Fatalf("step %d: an empty queue keeps %d slots, want at most %d", step, len(q.ring), keepRing)
		}
	}
	for step := 0; len(model) > 0; step++ {
		check(step, written(&q))
	}
}

func TestAQueueHasRoomForSoManyBytes(t *testing.T) {
	it := Item{M: wire.NewPush("t", "e", make([]byte, 70), 0)} // of 200 bytes
	if it.Size() != 200 {
		t.Fatalf("got a message of %d bytes, want 200", it.Size())
	}
	var q Queue
	for n := range 12 {
		if got := q.WaitingBytes(); got != 200*n {
			t.Errorf("%d waiting: got %d bytes, want %d", n, got, 200*n)
		}
		for bytes, fits := range map[int]bool{2000: n < 10, 50: n == 0} {
			if got := q.Fits(it, bytes); got != fits {
				t.Errorf("%d waiting in %d bytes: got Fits %v, want %v", n, bytes, got, fits)
			}
		}
		q.Push(it)
	}
	for range 12 {
		q.Next()
	}
	if !q.Fits(it, 200) || q.WaitingBytes() != 0 {
		t.Error("what is written counts as waiting")
	}
}

func TestAShortQueueAllocatesNothing(t *testing.T) {
	it := Item{M: wire.NewPush("t", "e", []byte("{}"), 0)}
	var q Queue
	if n := testing.AllocsPerRun(100, func() {
		for range minRing {
			q.Push(it)
		}
		for range minRing {
			written(&q)
		}
	}); n > 0 {
		t.Errorf("got %v allocations, want none", n)
	}
}

// TestQueueNumbersWhatItKeeps plays a client that acknowledges, loses its
// connection and comes back, against a slice of all that was ever pushed.
func TestQueueNumbersWhatItKeeps(t *testing.T) {
	random := rand.New(rand.NewPCG(need.Seed(t), 0))
	const most, mostBytes = 20, 2000
	var q Queue
	var all []Item              // number n is all[n-1]
	var base, written, next int // forgotten, ever written, written on this connection
	for step := range 200_000 {
		switch random.IntN(8) {
		case 0, 1, 2:
			it := Item{wire.NewPush("t", "e", make([]byte, random.IntN(100)), 0), strconv.Itoa(step)}
			q.Push(it)
			all = append(all, it)
		case 3, 4, 5:
			if q.Due() == 0 {
				break
			}
			it, number := q.Next()
			if next++; it != all[next-1] || number != uint64(next) {
				t.Fatalf("step %d: got number %d, want %d", step, number, next)
			}
			written = max(written, next)
			q.Trim(most, mostBytes)
			kept := 0
			for _, it := range all[base:written] {
				kept += it.Size()
			}
			for ; next == written && (written-base > most || kept > mostBytes); base++ {
				kept -= all[base].Size()
			}
		case 6:
			number := base + random.IntN(written-base+2)
			if ok := q.Acknowledge(uint64(number)); ok != (number <= written) {
				t.Fatalf("step %d: acknowledge(%d) is %v, %d were written", step, number, ok, written)
			}
			if number <= written {
				base, next = number, max(next, number)
			}
		case 7:
			if random.IntN(10) == 0 {
				q.Rewind()
				next = base
			}
		}
		if q.Sent() != uint64(written) || q.Due() != len(all)-next || q.Waiting() != len(all)-written || q.base != uint64(base) {
			t.Fatalf("step %d: got sent %d, due %d, waiting %d, base %d, want %d, %d, %d, %d", step,
				q.Sent(), q.Due(), q.Waiting(), q.base, written, len(all)-next, len(all)-written, base)
		}
	}
	if base == 0 || written < 10_000 {
		t.Errorf("%d were written and %d forgotten: the schedule shows nothing", written, base)
	}
}
