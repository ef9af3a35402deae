package nats

import (
	"slices"
	"sync"

	"github.com/go-chime/chime/internal/task"
)

// line does what it is given one after the other, in a goroutine that runs only while
// there is something. It is bounded: what does not fit is refused. A step without a size has
// always room, and is not dropped: what comes behind it relies on it.
type line struct {
	tasks *task.Group
	most  int // bytes that may wait

	doing sync.Mutex // held while something is done; taken before mu

	mu      sync.Mutex // guards the rest
	waiting []step
	bytes   int
	running bool
	closed  bool
}

type step struct {
	size int
	do   func()
	over chan struct{} // closed when it is done or dropped; nil if nobody waits for that
}

// end says that nothing comes of a step any more.
func (s step) end() {
	if s.over != nil {
		close(s.over)
	}
}

// add has a step done, or drops it and reports that there is no room. It does not block.
func (l *line) add(s step) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.size > 0 && l.bytes+s.size > l.most && len(l.waiting) > 0 {
		s.end()
		return false
	}
	l.put(s)
	return true
}

// replace drops what waits, but for steps without a size, and has a step done in its place.
func (l *line) replace(by step) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = slices.DeleteFunc(l.waiting, func(s step) bool {
		if s.size > 0 {
			s.end()
		}
		return s.size > 0
	})
	l.bytes = 0
	l.put(by)
}

// put has s done. l.mu is held.
func (l *line) put(s step) {
	if l.closed {
		s.end()
		return
	}
	l.waiting = append(l.waiting, s)
	l.bytes += s.size
	if !l.running {
		l.running = true
		l.tasks.Go(l.run)
	}
}

// now does something in this goroutine, after what waits.
func (l *line) now(do func()) {
	l.doing.Lock()
	defer l.doing.Unlock()
	for l.next() {
	}
	l.mu.Lock()
	closed := l.closed
	l.mu.Unlock()
	if !closed {
		do()
	}
}

// close returns when what is being done is done. Nothing is after that.
func (l *line) close() {
	l.mu.Lock()
	for _, s := range l.waiting {
		s.end()
	}
	l.closed, l.waiting, l.bytes = true, nil, 0
	l.mu.Unlock()
	l.doing.Lock()   // waits
	l.doing.Unlock() //nolint:staticcheck // nothing is to be done in between
}

func (l *line) run() {
	for {
		l.doing.Lock()
		more := l.next()
		l.doing.Unlock()
		if !more && l.rest() {
			return
		}
	}
}

// rest ends run, unless something has come.
func (l *line) rest() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) > 0 {
		return false
	}
	l.waiting, l.running = nil, false
	return true
}

// next does the first of what waits, if there is anything. l.doing is held.
func (l *line) next() bool {
	l.mu.Lock()
	if len(l.waiting) == 0 {
		l.mu.Unlock()
		return false
	}
	s := l.waiting[0]
	l.waiting[0] = step{} // what it has must not outlive it
	l.waiting = l.waiting[1:]
	l.bytes -= s.size
	l.mu.Unlock()
	s.do()
	s.end()
	return true
}
