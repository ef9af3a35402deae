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
	tops   broker.Tops
	topics func() []*Topic // that there are
	tasks  *task.Group

	mu    sync.Mutex // guards timer
	timer *time.Timer
}

// NewWatch returns one for a history, or nil, which does nothing, for one that can't look at
// many topics at one time: it is that of a broker of one process, which loses nothing.
func NewWatch(h broker.History, topics func() []*Topic, tasks *task.Group) *Watch {
	tops, ok := h.(broker.Tops)
	if !ok {
		return nil
	}
	return &Watch{tops: tops, topics: topics, tasks: tasks}
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

// look looks at all topics.
func (w *Watch) look() {
	topics := w.topics()
	for list := range slices.Chunk(topics, maxTops) {
		// A hub that shuts down waits for this, and has closed most of them meanwhile.
		if list = slices.DeleteFunc(list, (*Topic).over); len(list) == 0 {
			continue
		}
		names, marks := make([]string, len(list)), make([]mark, len(list))
		for i, t := range list {
			names[i], marks[i] = t.name, t.mark()
		}
		ctx, cancel := context.WithTimeout(context.Background(), lookFor)
		tops, err := w.tops.Tops(ctx, names)
		cancel()
		if err != nil || len(tops) != len(list) {
			continue // what has become of the broker is for that to say; others may have a part of it that goes on
		}
		for i, t := range list {
			t.doubt(tops[i], marks[i])
		}
	}
	w.mu.Lock()
	w.timer = nil
	w.mu.Unlock()
	if len(topics) > 0 || len(w.topics()) > 0 { // one that came meanwhile has found it armed
		w.Arm()
	}
}

// over reports whether the topic is closed.
func (t *Topic) over() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.closed
}

// mark is where the topic ends, as far as was announced.
func (t *Topic) mark() mark {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.tail.mark(time.Now())
}

// doubt has it looked into whether announcements are missing if the history ends elsewhere
// than they did, or than they had before. They may also be on their way: then nothing comes
// of it.
func (t *Topic) doubt(top store.Position, before mark) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.reader == nil || t.closed || !t.tail.known() {
		return
	}
	if top.Epoch != t.tail.epoch || top.Offset > t.tail.top || before.behind(top.Offset) {
		t.reader.doubt()
	}
}
