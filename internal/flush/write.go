package flush

import "time"

// patience is how long a round waits for the writes of goroutines while none of them
// gets done. One that takes longer waits for its client.
const patience = 20 * time.Millisecond

// writes are what goroutines were given to write, since they can't be tried without waiting,
// as with TLS and HTTP/2. The flusher's lock guards them.
type writes struct {
	left   int
	rounds []*round // wait for them
	next   []*round // and these for what is written after them
	timer  *time.Timer
}

// Write is one of them.
type Write struct {
	f  *Flusher
	of *writes
}

// Hand says that a goroutine writes for a connection. It calls End when it has, and when
// the connection is on the list again if there is more.
func (f *Flusher) Hand() Write {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.handed.left++
	return Write{f, f.handed}
}

// End ends it.
func (w Write) End() {
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	of := w.of
	of.left--
	switch {
	case of != w.f.awaited:
	case of.left == 0:
		w.f.pass(of)
	default:
		of.timer.Reset(patience)
	}
}

// await has a round wait for the writes that goroutines were given, and reports whether
// there are any. Writes for which another round waits already may have begun long ago: t
// waits for those that follow them, too, and has passed the former if it comes again. So
// a client that takes nothing is waited for once. f.mu is held.
func (f *Flusher) await(t *round, again bool) bool {
	switch of := f.awaited; {
	case of != nil && again && f.handed.left == 0:
		of.rounds = append(of.rounds, t)
	case of != nil:
		of.next = append(of.next, t)
	case f.handed.left == 0:
		return false
	default:
		of = f.handed
		f.awaited, f.handed = of, &writes{}
		of.rounds = append(of.rounds, t)
		of.awaitedBy(func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.pass(of)
		})
	}
	return true
}

// awaitedBy calls f when none of them has got done for long enough.
func (of *writes) awaitedBy(f func()) { of.timer = time.AfterFunc(patience, f) }

// pass lets the rounds go on that wait for of, once. f.mu is held.
func (f *Flusher) pass(of *writes) {
	if of != f.awaited {
		return
	}
	f.awaited = nil
	of.timer.Stop()
	for _, t := range of.rounds {
		t.less(1)
	}
	for _, t := range of.next { // the connections are on the list again
		f.add(again{t})
	}
	of.rounds, of.next = nil, nil
}
