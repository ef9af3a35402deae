package channel

import (
	"slices"

	"github.com/go-chime/chime/internal/wire"
)

// job is something that an inbox has to do: handle a frame, or end a join.
type job struct {
	frame wire.Frame
	why   Reason  // of an end; "" is a frame
	text  []byte  // payload of the phx_error that goes with an end; nil: none
	of    *Socket // which join ends; nil: the one that there is then
}

// joins reports whether the job is a join.
func (j job) joins() bool { return j.why == "" && j.frame.Event == wire.EventJoin }

// ends reports whether s ends by j.
func (j job) ends(s *Socket) bool {
	f := j.frame
	return j.why != "" && (j.of == nil || j.of == s) || f.Event == wire.EventJoin ||
		f.Event == wire.EventLeave && (f.JoinRef.Null() || f.JoinRef == s.joinRef)
}

// backlog is what an inbox has to do, in order. It has no lock: it is guarded by
// its client's. What takes an all adds to it as it does to bytes: those in all backlogs
// of the client.
type backlog struct {
	jobs  []job
	bytes int
}

func (b *backlog) push(j job, all *int) {
	b.jobs = append(b.jobs, j)
	b.count(j.frame.Size(), all)
}

// count takes note that there are n bytes more.
func (b *backlog) count(n int, all *int) {
	b.bytes += n
	*all += n
}

// pushFront puts j before all that waits.
func (b *backlog) pushFront(j job, all *int) {
	b.jobs = slices.Insert(b.jobs, 0, j)
	b.count(j.frame.Size(), all)
}

// pop takes out the first job, or returns nil. It stays where it is in memory, and
// whoever has done it clears it: it must not live as long as what waits behind it.
func (b *backlog) pop(all *int) *job {
	if len(b.jobs) == 0 {
		b.jobs = nil
		return nil
	}
	j := &b.jobs[0]
	b.jobs = b.jobs[1:]
	b.count(-j.frame.Size(), all)
	return j
}

func (b *backlog) clear(all *int) {
	b.jobs = nil
	b.count(-b.bytes, all)
}

// ends reports whether something that ends s waits.
func (b *backlog) ends(s *Socket) bool {
	return slices.ContainsFunc(b.jobs, func(j job) bool { return j.ends(s) })
}

// endsFirst reports whether the first thing that waits ends s.
func (b *backlog) endsFirst(s *Socket) bool { return len(b.jobs) > 0 && b.jobs[0].ends(s) }

// joins reports whether a join waits.
func (b *backlog) joins() bool { return slices.ContainsFunc(b.jobs, job.joins) }

// joinWaits reports whether a join waits that no leave waits behind.
func (b *backlog) joinWaits() bool {
	for _, j := range slices.Backward(b.jobs) {
		switch {
		case j.joins():
			return true
		case j.why != "", j.frame.Event == wire.EventLeave:
			return false
		}
	}
	return false
}
