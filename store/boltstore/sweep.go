package boltstore

import (
	"cmp"
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
		var wrong []func()
		s.plan.Lock()
		// From the end: dropping a topic moves one to its place that was looked at.
		for range passSlice {
			if i = min(i, len(s.order)) - 1; i < 0 {
				break
			}
			t := s.order[i]
			if err := s.look(t, now); err != nil {
				wrong = append(wrong, func() { s.untrimmed(t, err) })
			}
		}
		s.plan.Unlock()
		for _, tell := range wrong {
			tell()
		}
	}
	s.plan.Lock()
	defer s.plan.Unlock()
	if s.due != 0 {
		s.due = max(s.due, now+int64(sweepEvery))
	}
	s.ripe = s.wasted > 0
}

// look returns what has kept t from being trimmed; all else is done even so.
func (s *Store) look(t *topic, now int64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := s.trim(t, now)
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
	return err
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

// dead is a block that readers don't see any more. Nothing in it changes.
type dead struct {
	t       *topic
	b       *block
	entries []entry // nil: only in the file
}

// gather begins a round, if enough waits, with the oldest of the blocks. The
// committer calls it before a cut: nobody else takes blocks away, so it can read
// them without plan, which all writers need.
func (s *Store) gather() {
	all := s.unseen()
	if len(all) == 0 {
		return
	}
	r, n := &round{}, 0 // n blocks are taken

	if err := s.view(func(from loader) error { // one transaction for all of them
		for n < len(all) && len(r.seqs) < sweepRound {
			r.take(s, all[n], from)
			n++
		}
		return nil
	}); err != nil {
		s.log.Warn("history could not be swept", "file", s.path, "error", err)
	}
	slices.Sort(r.seqs)
	s.plan.Lock()
	defer s.plan.Unlock()
	for _, d := range all[:n] {
		s.remove(d)
	}
	s.ripe = s.ripe && len(r.seqs) >= sweepRound && n < len(all)
	s.rotten = slices.DeleteFunc(s.rotten, func(t *topic) bool {
		t.rotten = t.dead > 0
		return !t.rotten
	})
	if n > 0 {
		s.round = r
		s.must = true // a checkpoint brings the floors into the file
	}
}

// unseen returns the blocks that can be swept, the oldest first, once there is
// to be a round. There may be none that readers can't see yet: a checkpoint for
// those would bring the committer back at once, and again.
func (s *Store) unseen() (all []dead) {
	s.plan.Lock()
	if s.round == nil && s.sweepable() {
		for _, t := range s.rotten {
			t.mu.Lock()
			for _, b := range t.blocks[:t.dead] {
				if b.last > t.seen.floor {
					break // readers may still see it
				}
				all = append(all, dead{t, b, b.entries})
			}
			t.mu.Unlock()
		}
		s.ripe = s.ripe && len(all) > 0
	}
	s.plan.Unlock()
	slices.SortFunc(all, func(a, b dead) int { return cmp.Compare(a.b.first, b.b.first) })
	return all
}

// take adds to the round what d leads to.
func (r *round) take(s *Store, d dead, from loader) {
	entries, err := d.entries, error(nil)
	if entries == nil {
		entries, err = from(d.t, d.b)
	}
	if err != nil {
		// What it leads to can't be found any more. Verify tells.
		s.log.Warn("history could not be swept", "file", s.path, "topic", d.t.name, "error", explain(s.path, err))
	}
	for _, e := range entries {
		r.seqs = append(r.seqs, e.seq)
	}
	r.blocks = append(r.blocks, del{indexBucket, indexKey(d.t.id, d.b.first)})
}

// remove takes d, the first block of its topic, out of it. It is called with plan held.
func (s *Store) remove(d dead) {
	t := d.t
	t.mu.Lock()
	defer t.mu.Unlock()
	s.wasted -= d.b.n
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
