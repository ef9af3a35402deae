package fanout

import "time"

const (
	// slice is what may be queued for each member before the connections are
	// written to once.
	slice = 64 << 10
	// maxPause is how long a publisher waits for that.
	maxPause = time.Second
)

// pace keeps those who publish in a topic from running ahead of those who write to
// its members, where a queue would fill though its client reads. It waits for no
// client: a connection that takes nothing was written to. The topic's lock guards
// it.
type pace struct {
	round  func() <-chan struct{} // Config.BeginRound
	queued int                    // for each member, since the last round began
	last   <-chan struct{}        // that round
	before <-chan struct{}        // the one before it, for which all wait; nil: it is done
}

// step counts what was queued for each member, and returns the round to wait for: at
// the end of a slice that of the slice before, so that one is written while the next
// is queued. Whoever comes later waits for it too, and overtakes nobody.
func (p *pace) step(bytes int) <-chan struct{} {
	if p.round == nil {
		return nil
	}
	if p.queued += bytes; p.queued >= slice {
		p.queued, p.before, p.last = 0, p.last, p.round()
	}
	select {
	case <-p.before:
		p.before = nil
	default:
	}
	return p.before
}

// pause waits for a round.
func pause(round <-chan struct{}) {
	if round == nil {
		return
	}
	select {
	case <-round: // most often: no timer is needed
		return
	default:
	}
	timer := time.NewTimer(maxPause)
	defer timer.Stop()
	select {
	case <-round:
	case <-timer.C:
	}
}
