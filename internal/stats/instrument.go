package stats

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// stripes is how many parts a Striped has: more would be for machines on which so
// many goroutines count in the same moment.
const stripes = 8

// Striped is a counter for what happens so often that one number would be fought
// over: it is in parts, each in a cache line of its own.
type Striped struct {
	parts [stripes]struct {
		n atomic.Uint64
		_ [120]byte // two lines: processors fetch them in pairs
	}
}

// Add counts n.
func (s *Striped) Add(n uint64) { s.parts[rand.Uint32()%stripes].n.Add(n) }

func (s *Striped) load() (sum uint64) {
	for i := range s.parts {
		sum += s.parts[i].n.Load()
	}
	return sum
}

// bounds are the upper bounds of the buckets of every histogram: from what a call of a
// function takes to what a client would give up after.
var bounds = [...]time.Duration{
	10 * time.Microsecond, 50 * time.Microsecond, 250 * time.Microsecond, time.Millisecond, 5 * time.Millisecond,
	25 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond, 2500 * time.Millisecond, 10 * time.Second,
}

// Histogram counts durations. A nil one counts nothing.
type Histogram struct {
	counts [len(bounds) + 1]atomic.Uint64
	nanos  atomic.Int64
}

// Observe counts d.
func (h *Histogram) Observe(d time.Duration) {
	if h == nil {
		return
	}
	i := 0
	for i < len(bounds) && d > bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.nanos.Add(int64(d))
}

func (h *Histogram) sample(values ...string) Sample {
	s := Sample{Values: values, Sum: time.Duration(h.nanos.Load()).Seconds(), Buckets: make(map[float64]uint64, len(bounds))}
	for i := range h.counts {
		s.Count += h.counts[i].Load()
		if i < len(bounds) {
			s.Buckets[bounds[i].Seconds()] = s.Count
		}
	}
	return s
}
