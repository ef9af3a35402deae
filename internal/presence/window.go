package presence

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/task"
)

const (
	// Lull is how long the first change waits for others: a client that joins again
	// leaves and joins, and is seen to do neither.
	Lull = 10 * time.Millisecond
	// Pause is from one announcement of a topic to the next, at least. Whatever changes
	// meanwhile is one.
	Pause = 100 * time.Millisecond
)

// Errors of Update.
var (
	ErrAbsent = errors.New("not present yet")
	ErrLeft   = errors.New("not present any more")
)

// Refs makes refs that are unique among nodes and restarts.
type Refs struct {
	prefix string
	last   atomic.Uint64
}

// NewRefs returns a source of refs.
func NewRefs() *Refs {
	var b [6]byte
	_, _ = rand.Read(b[:]) // it never fails
	return &Refs{prefix: base64.RawURLEncoding.EncodeToString(b[:])}
}

func (r *Refs) next() string { return r.prefix + strconv.FormatUint(r.last.Add(1), 36) }

// Window collects what changes among the clients of this node in a topic. What comes
// and goes between two announcements is not told. Its methods are safe for concurrent
// use, and wait for no announcement. M is what the owner knows a client by.
type Window[M any] struct {
	refs     *Refs
	roster   *Roster
	tasks    *task.Group
	announce func(c broker.Change, came []M) // may wait

	mu     sync.Mutex // guards what follows, and every Here; taken before that of the roster
	joins  []*Here[M] // to be announced; nil where one has gone meanwhile
	leaves []broker.Present
	flying broker.Change // being announced
	busy   bool          // it is being announced, or the timer runs; the tasks are held
	timer  *time.Timer
	next   time.Time // before which nothing is announced
	closed bool
}

// NewWindow returns a window of nobody. Announce is called by one goroutine of the tasks
// at a time, and has the roster apply what it is given before it returns. Came are those
// that are announced for the first time.
func NewWindow[M any](refs *Refs, roster *Roster, tasks *task.Group, announce func(c broker.Change, came []M)) *Window[M] {
	return &Window[M]{refs: refs, roster: roster, tasks: tasks, announce: announce}
}

// Here is one client of this node in a topic. It is not present before Enter.
type Here[M any] struct {
	Of M // whose it is; it never changes

	state   state
	index   int    // in joins, while it is coming
	prev    string // the ref of what it replaces
	present broker.Present
}

type state int8

const (
	absent state = iota
	coming       // not announced yet
	known        // announced, or about to be
	left         // for good
)

// Enter makes h present, unless it has left already.
func (w *Window[M]) Enter(h *Here[M], key string, meta json.RawMessage) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if h.state == absent {
		w.come(h, key, "", meta)
	}
}

// Update changes the meta of h: for clients that is one diff.
func (w *Window[M]) Update(h *Here[M], meta json.RawMessage) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := h.present
	switch h.state {
	case absent:
		return ErrAbsent
	case left:
		return ErrLeft
	case coming: // nobody has seen it: there is nothing that it replaces
		h.present.Meta = withRefs(meta, p.Ref, h.prev)
	default:
		if string(withRefs(meta, p.Ref, h.prev)) == string(p.Meta) {
			return nil
		}
		w.leaves = append(w.leaves, p)
		w.come(h, p.Key, p.Ref, meta)
	}
	return nil
}

// Leave makes h no longer present, for good.
func (w *Window[M]) Leave(h *Here[M]) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch h.state {
	case coming:
		w.joins[h.index] = nil
	case known:
		w.leaves = append(w.leaves, h.present)
		w.changed()
	}
	h.state = left
}

// come has h announced. w.mu is held.
func (w *Window[M]) come(h *Here[M], key, prev string, meta json.RawMessage) {
	ref := w.refs.next()
	h.state, h.index, h.prev = coming, len(w.joins), prev
	h.present = broker.Present{Key: key, Ref: ref, Meta: withRefs(meta, ref, prev)}
	w.joins = append(w.joins, h)
	w.changed()
}

// changed has what waits announced, in time. w.mu is held.
func (w *Window[M]) changed() {
	if w.busy || w.closed {
		return
	}
	w.busy = true
	w.tasks.Add()
	w.timer = time.AfterFunc(max(Lull, time.Until(w.next)), w.run)
}

// run announces what waits. The timer calls it.
func (w *Window[M]) run() {
	defer w.tasks.Done()
	w.mu.Lock()
	c, came := w.take()
	w.timer, w.flying = nil, c
	if len(c.Joins)+len(c.Leaves) > 0 && !w.closed {
		w.next = time.Now().Add(Pause)
		w.mu.Unlock()
		w.announce(c, came)
		w.mu.Lock()
	}
	w.flying, w.busy = broker.Change{}, false
	if len(w.joins)+len(w.leaves) > 0 {
		w.changed()
	}
	w.mu.Unlock()
}

// take takes out what waits, whose joins are known from then on. w.mu is held.
func (w *Window[M]) take() (c broker.Change, came []M) {
	c = broker.Change{Joins: w.coming(), Leaves: w.leaves}
	for _, h := range w.joins {
		if h == nil {
			continue
		}
		h.state = known
		if h.prev == "" {
			came = append(came, h.Of)
		}
	}
	w.joins, w.leaves = nil, nil
	return c, came
}

// coming are the joins that wait. w.mu is held.
func (w *Window[M]) coming() []broker.Present {
	var list []broker.Present
	for _, h := range w.joins {
		if h != nil {
			list = append(list, h.present)
		}
	}
	return list
}

// List returns who is present, what was not announced yet included. It is ordered by
// key, and then as they came.
func (w *Window[M]) List() []broker.Present {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.roster.after(w.flying, broker.Change{Joins: w.coming(), Leaves: slices.Clone(w.leaves)})
}

// Close ends all announcements: nobody is there to be told.
func (w *Window[M]) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed, w.joins, w.leaves = true, nil, nil
	if w.timer != nil && w.timer.Stop() {
		w.busy = false
		w.tasks.Done()
	}
}
