package nats

import (
	"sync"

	"github.com/go-chime/chime/internal/task"
)

// line does what it is given one after the other, in a goroutine that runs only while
// there is something. It is bounded: what does not fit is refused.
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
	do   func()
	size int
}

// add has something done, or reports that there is no room. It does not block.
func (l *line) add(size int, do func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return true
	}
	if l.bytes+size > l.most && len(l.waiting) > 0 {
		return false
	}
	l.waiting = append(l.waiting, step{do, size})
	l.bytes += size
	if !l.running {
		l.running = true
		l.tasks.Go(l.run)
	}
	return true
}

// clear drops what waits.
func (l *line) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting, l.bytes = nil, 0
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
	return true
}
