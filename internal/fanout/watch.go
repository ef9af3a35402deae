package fanout

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/task"
	"github.com/go-chime/chime/store"
)

// watchEvery is how often the tops of all topics are looked at.
const watchEvery = 15 * time.Second

// Watch looks now and then where the history of each topic ends. A broker tells of what it
// knows to be lost; what it does not know of shows by the next message, and in a topic where
// there is none for hours it would not show. It knows no reader.
type Watch struct {
	ctx    context.Context // of the looks
	tops   broker.Tops
	topics func() []*Topic // that there are
	tasks  *task.Group

	mu    sync.Mutex // guards timer
	timer *time.Timer
}

// NewWatch returns one for a history, or nil, which does nothing, for one that can't look at
// many topics at one time: it is that of a broker of one process, which loses nothing. When ctx
// ends it finds nothing any more.
func NewWatch(ctx context.Context, h broker.History, topics func() []*Topic, tasks *task.Group) *Watch {
	tops, ok := h.(broker.Tops)
	if !ok {
		return nil
	}
	return &Watch{ctx: ctx, tops: tops, topics: topics, tasks: tasks}
}

// Arm has it look in a while, and go on as long as there are topics.
func (w *Watch) Arm() {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer == nil {
		w.timer = w.tasks.After(watchEvery, w.look)
	}
}

// look looks at all topics in which something is retained.
func (w *Watch) look() {
	topics := w.topics()
	var list []*lookout
	for _, t := range topics {
		if t.feed != nil {
			list = append(list, &t.feed.lookout)
		}
	}
	for some := range slices.Chunk(list, maxTops) {
		// A hub that shuts down waits for this, and has closed most of them meanwhile.
		if some = slices.DeleteFunc(some, (*lookout).over); len(some) > 0 {
			w.compare(some)
		}
	}
	w.mu.Lock()
	w.timer = nil
	w.mu.Unlock()
	if len(topics) > 0 || len(w.topics()) > 0 { // one that came meanwhile has found it armed
		w.Arm()
	}
}

// compare has each of a list told where the history ends.
func (w *Watch) compare(list []*lookout) {
	names, marks := make([]string, len(list)), make([]mark, len(list))
	for i, l := range list {
		names[i], marks[i] = l.feed.topic, l.mark()
	}
	ctx, cancel := context.WithTimeout(w.ctx, lookFor)
	defer cancel()
	tops, err := w.tops.Tops(ctx, names)
	if err != nil || len(tops) != len(list) {
		return // what has become of the broker is for that to say; others may have a part of it that goes on
	}
	for i, l := range list {
		l.compare(tops[i], marks[i])
	}
}

// over reports whether the topic is closed. It takes the topic's lock, as those below do.
func (l *lookout) over() bool {
	l.feed.mu.Lock()
	defer l.feed.mu.Unlock()
	return l.feed.closed
}

// mark is where the topic ends, as far as was announced.
func (l *lookout) mark() mark {
	l.feed.mu.Lock()
	defer l.feed.mu.Unlock()
	return l.feed.tail.mark(time.Now())
}

// compare has it looked into whether announcements are missing if the history ends elsewhere
// than they did, or than they had before. They may also be on their way: then nothing comes
// of it.
func (l *lookout) compare(top store.Position, before mark) {
	l.feed.mu.Lock()
	defer l.feed.mu.Unlock()
	tail := &l.feed.tail
	if l.feed.closed || !tail.known() {
		return
	}
	if top.Epoch != tail.epoch || top.Offset > tail.top || before.behind(top.Offset) {
		l.doubt()
	}
}
