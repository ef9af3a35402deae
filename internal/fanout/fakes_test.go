package fanout

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-chime/chime/internal/leak"
	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/internal/task"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/store"
)

func TestMain(m *testing.M) { leak.Main(m) }

// fakeQueue is the queue of a client that reads when a test tells it to. It is
// bounded as that of a client socket is.
type fakeQueue struct {
	id    string
	most  int        // messages that Send takes; Offer takes half, and Ready wants three quarters of it free
	takes func(item) // called for each that is queued, if set

	mu    sync.Mutex // guards what follows
	stuck bool       // reads only by read
	items []item
	seen  []item
	ready func()
	ended bool
}

type item struct {
	m  *wire.Message
	to string
}

var errFull = errors.New("full")

func (q *fakeQueue) ID() string { return q.id }

func (q *fakeQueue) Send(m *wire.Message, to string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended = q.ended || len(q.items) >= q.most; q.ended {
		return errFull
	}
	q.put(item{m, to})
	return nil
}

func (q *fakeQueue) Offer(m *wire.Message, to string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended || len(q.items) >= max(q.most/2, 1) {
		return q.ended
	}
	q.put(item{m, to})
	return true
}

func (q *fakeQueue) put(it item) {
	if q.takes != nil {
		q.takes(it)
	}
	if q.stuck {
		q.items = append(q.items, it)
	} else {
		q.seen = append(q.seen, it)
	}
}

func (q *fakeQueue) Ready(f func()) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended || len(q.items) <= q.most/4 {
		return true
	}
	q.ready = f
	return false
}

// read takes up to n messages from the queue.
func (q *fakeQueue) read(n int) {
	q.mu.Lock()
	n = min(n, len(q.items))
	q.seen = append(q.seen, q.items[:n]...)
	q.items = q.items[n:]
	var ready func()
	if q.ended || len(q.items) <= q.most/4 {
		ready, q.ready = q.ready, nil
	}
	q.mu.Unlock()
	if ready != nil {
		ready()
	}
}

// stick makes the client stop reading, or read again.
func (q *fakeQueue) stick(stuck bool) {
	q.mu.Lock()
	q.stuck = stuck
	q.mu.Unlock()
	if !stuck {
		q.read(1 << 30)
	}
}

// offsets are those of the retained messages that were read.
func (q *fakeQueue) offsets() (list []uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, it := range q.seen {
		if it.m.Offset > 0 {
			list = append(list, it.m.Offset)
		}
	}
	return list
}

// fakeOwner is a client in a topic.
type fakeOwner struct {
	Member
	id     string
	ctx    context.Context
	cancel context.CancelFunc

	mu    sync.Mutex // guards what follows
	start *Start
	fails []error
}

func (o *fakeOwner) JoinRef() string          { return o.id }
func (o *fakeOwner) Context() context.Context { return o.ctx }
func (o *fakeOwner) Fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fails = append(o.fails, err)
}

func (o *fakeOwner) failed() []error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.fails
}

func newOwner(topic *Topic, pager *Pager, ref string) *fakeOwner {
	o := &fakeOwner{id: ref}
	o.ctx, o.cancel = context.WithCancel(context.Background())
	o.Init(o, pager, topic, true)
	return o
}

func (o *fakeOwner) join(want Want) error {
	return o.topic.Join(&o.Member, want, func(s *Start) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.start = s
	})
}

// leave is what a socket does when it leaves.
func (o *fakeOwner) leave() {
	o.topic.Leave(&o.Member)
	o.cancel()
}

// fakeHistory is a store in memory that can be held up before and after it reads,
// that fails, and whose epoch changes.
type fakeHistory struct {
	mu      sync.Mutex // guards what follows
	store   *store.Memory
	reads   int
	reading int // at this moment
	most    int // that read at one moment
	fails   int
	before  chan struct{} // closed to go on; nil is open
	after   chan struct{}
}

func newHistory() *fakeHistory { return &fakeHistory{store: store.NewMemory()} }

func (h *fakeHistory) now() *store.Memory {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.store
}

func (h *fakeHistory) Epoch() string { return h.now().Epoch() }

func (h *fakeHistory) Read(ctx context.Context, topic string, r store.Range) (store.Page, error) {
	h.mu.Lock()
	h.reads++
	h.reading++
	h.most = max(h.most, h.reading)
	fails := h.fails > 0
	if fails {
		h.fails--
	}
	before := h.before
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		h.reading--
		h.mu.Unlock()
	}()
	if before != nil {
		<-before
	}
	if fails {
		return store.Page{}, errors.New("disk on fire")
	}
	page, err := h.now().Read(ctx, topic, r)
	h.mu.Lock()
	after := h.after
	h.mu.Unlock()
	if after != nil {
		<-after
	}
	return page, err
}

func (h *fakeHistory) shut(gate *chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if *gate == nil {
		*gate = make(chan struct{})
	}
}

func (h *fakeHistory) open(gate *chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if *gate != nil {
		close(*gate)
		*gate = nil
	}
}

// world is a topic, its history and what they work with.
type world struct {
	history *fakeHistory
	budget  *Budget
	checks  *Checks
	tasks   task.Group
	stats   stats.Stats
	clients atomic.Int64
	topic   *Topic
	keep    store.Retention
	sure    bool // of the topics that are opened from now on
}

func newWorld(keep int) *world {
	w := &world{history: newHistory(), budget: NewBudget(1 << 20), keep: store.Retention{Keep: keep}}
	w.checks = NewChecks(context.Background(), w.history, &w.tasks)
	w.topic = w.open("a")
	return w
}

func (w *world) open(name string) *Topic {
	return New(name, Config{History: w.history, Keep: w.keep.Keep, Age: w.keep.Age, Sure: w.sure, Replay: 10, Budget: w.budget, Checks: w.checks, Tasks: &w.tasks})
}

// client is one that has no topics yet.
func (w *world) client(most int) (*fakeQueue, *Pager) {
	q, p := &fakeQueue{id: fmt.Sprint("client-", w.clients.Add(1)), most: most}, &Pager{}
	p.Init(q, &w.tasks)
	return q, p
}

// waiting is how many members are behind. p.mu is held.
func (p *Pager) waiting() int {
	if p.behind == nil {
		return 0
	}
	return len(*p.behind)
}
