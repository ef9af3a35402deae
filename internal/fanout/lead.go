package fanout

import "time"

const (
	// slice is what may be queued for each member before the connections are
	// written to once.
	slice = 64 << 10
	// maxPause is how long a publisher waits for that.
	maxPause = time.Second
)

// lead is how far those who publish in a topic are ahead of those who write to its
// members. It keeps that short, or a queue would fill though its client reads. It
// waits for no client: a connection that takes nothing was written to. The topic's
// lock guards it.
type lead struct {
	round  func() <-chan struct{} // Config.BeginRound
	queued int                    // for each member, since the last round began
	last   <-chan struct{}        // that round
	before <-chan struct{}        // the one before it, for which all wait; nil: it is done
}

// step counts what was queued for each member, and returns the round to wait for: at
// the end of a slice that of the slice before, so that one is written while the next
// is queued. Whoever comes later waits for it too, and overtakes nobody.
func (l *lead) step(bytes int) <-chan struct{} {
	if l.round == nil {
		return nil
	}
	if l.queued += bytes; l.queued >= slice {
		l.queued, l.before, l.last = 0, l.last, l.round()
	}
	select {
	case <-l.before:
		l.before = nil
	default:
	}
	return l.before
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
