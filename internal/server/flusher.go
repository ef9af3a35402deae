package server

import (
	"runtime"
	"sync"
	"time"

	"github.com/go-chime/chime/internal/task"
)

// flushers write what is queued. A connection with something new is put on the
// list of its flusher, once; the flusher joins all that there is for it into
// one write that does not block. So a publisher never touches a connection, a
// burst becomes one write on each, and no goroutine waits for work: a
// flusher runs only while its list has somebody on it.
type flushers struct {
	shards []flusher
}

// flusher writes for the clients of one shard, one connection at a time. A client
// belongs to one shard for life, so two flushers never meet at a connection.
type flusher struct {
	mu      sync.Mutex // guards dirty and running
	dirty   []*connection
	running bool
	tasks   *task.Group

	// Only the running goroutine uses these.
	spare []*connection
	buf   []byte
	write nonblocking
}

func newFlushers(tasks *task.Group) *flushers {
	fs := &flushers{shards: make([]flusher, min(4, runtime.GOMAXPROCS(0)))}
	for i := range fs.shards {
		fs.shards[i].tasks = tasks
		fs.shards[i].write.init()
	}
	return fs
}

// add puts n on the list. The caller has seen to it that n is not on it.
func (f *flusher) add(n *connection) {
	f.mu.Lock()
	f.dirty = append(f.dirty, n)
	start := !f.running
	if start {
		f.running = true
	}
	f.mu.Unlock()
	if start {
		f.tasks.Go(f.run)
	}
}

func (f *flusher) run() {
	for {
		f.mu.Lock()
		list := f.dirty
		f.dirty = f.spare[:0]
		if len(list) == 0 {
			f.running = false
			f.spare = list
			f.mu.Unlock()
			return
		}
		f.mu.Unlock()
		now := time.Now().UnixNano()
		for i, n := range list {
			list[i] = nil
			n.flush(f, now)
		}
		f.spare = list[:0]
	}
}
