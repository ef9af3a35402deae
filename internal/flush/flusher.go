// Package flush decides when connections are written to, and by whom. A connection
// with something new is put on the list of its flusher, once; the flusher has it
// write all that there is in one write that does not block. So a publisher never
// touches a connection, a burst becomes one write on each, and no goroutine waits
// for work: a flusher runs only while its list has somebody on it. It knows
// nothing of what is written.
package flush

import (
	"runtime"
	"sync"

	"github.com/go-chime/chime/internal/mono"
	"github.com/go-chime/chime/internal/nonblock"
	"github.com/go-chime/chime/internal/task"
)

// Connection is what a flusher has written.
type Connection interface {
	// Flush writes what the connection has to, as long as that needs no waiting.
	// It may use the Buffer and the Writer of f until it returns.
	Flush(f *Flusher, now mono.Instant)
}

// Flusher writes for the clients of one shard, one connection at a time. A client
// belongs to one shard for life, so two flushers never meet at a connection.
type Flusher struct {
	mu      sync.Mutex // guards what follows, but tasks
	list    []Connection
	running bool
	handed  *writes // since a round began to wait
	awaited *writes // by rounds; nil if none waits
	tasks   *task.Group

	// Only the running goroutine uses these.
	spare  []Connection
	Buffer []byte
	Writer nonblock.Writer
}

// Flushers are those of a server.
type Flushers []Flusher

// New returns the flushers of a server, whose goroutines belong to tasks.
func New(tasks *task.Group) Flushers {
	fs := make(Flushers, min(4, runtime.GOMAXPROCS(0)))
	for i := range fs {
		fs[i].tasks, fs[i].handed = tasks, &writes{}
		fs[i].Writer.Init()
	}
	return fs
}

// Add puts n on the list. The caller has seen to it that n is not on it.
func (f *Flusher) Add(n Connection) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.add(n)
}

// add is Add. f.mu is held.
func (f *Flusher) add(n Connection) {
	f.list = append(f.list, n)
	if !f.running {
		f.running = true
		f.tasks.Go(f.run)
	}
}

func (f *Flusher) run() {
	for {
		f.mu.Lock()
		list := f.list
		f.list = f.spare[:0]
		if len(list) == 0 {
			f.running = false
			f.spare = list
			f.mu.Unlock()
			return
		}
		f.mu.Unlock()
		now := mono.Now()
		for i, n := range list {
			list[i] = nil
			n.Flush(f, now)
		}
		f.spare = list[:0]
	}
}
