package transport

import (
	"runtime"
	"sync"
	"time"

	"github.com/go-chime/chime/internal/task"
)

// flushers write what is queued. A client with something new is put on the
// list of its flusher, once; the flusher joins all that the client has into
// one write that does not block. So a publisher never touches a socket, a
// burst becomes one write per client, and no goroutine waits for work: a
// flusher runs only while its list has somebody on it.
type flushers struct {
	shards []flusher
}

// flusher writes for the clients of one shard. A client belongs to one shard
// for life, which keeps its writes in order.
type flusher struct {
	mu      sync.Mutex // guards dirty and running
	dirty   []*client
	running bool
	tasks   *task.Group

	// Only the running goroutine uses these.
	spare []*client
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

// add puts c on the list. The caller has seen to it that c is not on it.
func (f *flusher) add(c *client) {
	f.mu.Lock()
	f.dirty = append(f.dirty, c)
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
		for i, c := range list {
			list[i] = nil
			c.flush(f, now)
		}
		f.spare = list[:0]
	}
}
