package boltstore

import (
	"math"
	"slices"
	"time"
)

const (
	// sweepAfter is how many messages may be gone for readers and still in the
	// file. Swept in the order of the log they fill its pages; one by one, each
	// of them would cost the commit that let it go a page of its own.
	sweepAfter = 16_384
	sweepRound = 65_536 // the most that one round takes
	sweepSlice = 1_024  // and one transaction: some milliseconds that appends wait; twice its messages if that is more

	// sweepEvery is how soon what aged in silence is looked for again.
	sweepEvery = time.Minute
	passSlice  = 1_000 // topics that one hold of plan looks at
)

// round is a part of the sweep: blocks whose floors are in the file, and the
// records they lead to. The blocks go last, so that after a crash Open finds
// them again and goes on.
type round struct {
	seqs   []uint64 // ascending
	blocks []del
}

// expect notes that something may age, or a topic be dropped, at a time. It is
// called with plan held.
func (s *Store) expect(at int64) {
	if at = max(at, s.passed+int64(sweepEvery)); at < s.due || s.due == 0 {
		s.due = at
		s.wake() // to set its timer
	}
}

// pass looks for what has aged and for topics that nobody will ask for. It is
// called by the committer when something is due.
func (s *Store) pass(now int64) {
	s.plan.Lock()
	i := len(s.order)
	s.due, s.passed = 0, now
	s.plan.Unlock()
	for i > 0 {
		s.plan.Lock()
		// From the end: dropping a topic moves one to its place that was looked at.
		for range passSlice {
			if i = min(i, len(s.order)) - 1; i < 0 {
				break
			}
			s.look(s.order[i], now)
		}
		s.plan.Unlock()
	}
	s.plan.Lock()
	defer s.plan.Unlock()
	if s.due != 0 {
		s.due = max(s.due, now+int64(sweepEvery))
	}
	s.ripe = s.wasted > 0
}

func (s *Store) look(t *topic, now int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := s.trim(t, now); err != nil {
		s.log.Warn("history could not be trimmed", "file", s.path, "topic", t.name, "error", explain(s.path, err))
	}
	// What has aged for the planner has for readers, who may not come by.
	if t.seen.top == t.top {
		t.seen.floor = max(t.seen.floor, t.floor)
	}
	switch {
	case t.idle(now):
		s.forgo(t)
	case len(t.blocks) == 0:
		s.due = earlier(s.due, t.used+int64(remembered))
	case t.keep.Age > 0:
		s.due = earlier(s.due, expiry(t.blocks[0].newest, t.keep.Age))
	}
}

// earlier of two times, of which 0 is never.
func earlier(a, b int64) int64 {
	if a == 0 {
		return b
	}
	return min(a, b)
}

// expiry is when what was said at a time has aged; never is far away.
func expiry(at int64, age time.Duration) int64 {
	if at > math.MaxInt64-int64(age) {
		return math.MaxInt64
	}
	return at + int64(age)
}

// forgo drops a topic. It is called with plan and its mu held.
func (s *Store) forgo(t *topic) {
	t.dropped = true
	s.gone = append(s.gone, t)
	s.must = true
	// A topic of that name would not know what it once had. From here on, none
	// that begins vouches for a time in which any that was dropped had messages.
	s.meta.horizon = max(s.meta.horizon, t.top)
	last := len(s.order) - 1
	s.order[t.index] = s.order[last]
	s.order[t.index].index = t.index
	s.order[last] = nil
	s.order = s.order[:last]
	s.topicsMu.Lock()
	defer s.topicsMu.Unlock()
	s.horizon = s.meta.horizon
	delete(s.topics, t.name)
}

func (s *Store) sweepable() bool { return s.wasted >= s.options.sweepAfter || s.ripe && s.wasted > 0 }

// gather begins a round with the oldest of the blocks that wait. It is called
// with plan held, before a checkpoint, which brings the floors into the file.
func (s *Store) gather() {
	type dead struct {
		t *topic
		b *block
	}
	var all []dead
	for _, t := range s.rotten {
		t.mu.Lock()
		for _, b := range t.blocks[:t.dead] {
			if b.last > t.seen.floor {
				break // readers may still see it
			}
			all = append(all, dead{t, b})
		}
		t.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b dead) int {
		if a.b.first < b.b.first {
			return -1
		}
		return 1
	})
	s.round = &round{}
	more := false
	if err := s.view(func(from loader) error { // one transaction for all of them
		for _, d := range all {
			if more = len(s.round.seqs) >= sweepRound; more {
				break
			}
			s.take(d.t, d.b, from)
		}
		return nil
	}); err != nil {
		s.log.Warn("history could not be swept", "file", s.path, "error", err)
	}
	slices.Sort(s.round.seqs)
	s.ripe = s.ripe && more
	s.rotten = slices.DeleteFunc(s.rotten, func(t *topic) bool {
		t.rotten = t.dead > 0
		return !t.rotten
	})
	if len(s.round.blocks) == 0 {
		s.round = nil // none that readers can't see yet
	}
}

// take moves b, the first block of t, into the round.
func (s *Store) take(t *topic, b *block, from loader) {
	t.mu.Lock()
	defer t.mu.Unlock()
	entries, err := t.entries(b, from)
	if err != nil {
		// What it leads to can't be found any more. Verify tells.
		s.log.Warn("history could not be swept", "file", s.path, "topic", t.name, "error", explain(s.path, err))
	}
	for _, e := range entries {
		s.round.seqs = append(s.round.seqs, e.seq)
	}
	s.round.blocks = append(s.round.blocks, del{indexBucket, indexKey(t.id, b.first)})
	s.wasted -= b.n
	t.blocks[0] = nil
	t.blocks = t.blocks[1:]
	t.dead--
	t.counted--
}

// sweep adds the next slice of the round to b. It is called with plan held.
func (s *Store) sweep(b *batch) {
	r := s.round
	if r == nil {
		return
	}
	// Faster than what comes in, or what waits would grow as long as there is much.
	n := min(len(r.seqs), max(sweepSlice, 2*len(b.ops)))
	b.log, r.seqs = r.seqs[:n], r.seqs[n:]
	if len(r.seqs) == 0 {
		b.deletes = append(b.deletes, r.blocks...)
		s.round = nil
	}
}
