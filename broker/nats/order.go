package nats

import (
	"slices"
	"sync"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

const (
	// maxWaiting is how many bytes of announcements wait in one topic for its sink. Beyond
	// that they are dropped, and the sink reads the history.
	maxWaiting = 4 << 20
	// perStep is what an announcement counts besides its payload.
	perStep = 256
	// holding is how long an ephemeral message waits for a retained one that it follows.
	holding = time.Second
	// maxDelayed is how many may, and maxDelayedBytes how many bytes: they come into the line at one time.
	maxDelayed      = 256
	maxDelayedBytes = maxWaiting / 2
	// recent is how many offsets of a topic are remembered as erased: their announcements may
	// be on their way.
	recent = 64
)

// order announces what comes in one topic, in the order of its offsets.
type order struct {
	topics *topics
	topic  string
	line   line

	listening sync.Mutex // held while it subscribes; taken before mu

	mu           sync.Mutex // guards what follows
	sub          *client.Subscription
	life         *life
	base         uint64 // the last offset when it was subscribed
	delayed      []delayed
	delayedBytes int         // of the payloads
	timer        *time.Timer // lets go of what is held
	closed       bool

	// What follows is used by steps of the line only.
	last   uint64   // offset of the last that was announced, or of a mark
	erased []uint64 // offsets that were erased
	floor  uint64   // all up to here was erased
	marks  sync.Mutex
	marked uint64 // the offset of a mark, guarded by marks
	top    uint64 // of the last message before it, guarded by marks
}

// delayed waits until the message at an offset was announced.
type delayed struct {
	after uint64
	until time.Time
	step  step
}

func newOrder(t *topics, topic string) *order {
	return &order{topics: t, topic: topic, line: line{tasks: &t.site.tasks, most: maxWaiting}}
}

// listen subscribes to what a stream announces now, in place of what it has listened to.
func (o *order) listen(s *stream) error {
	o.listening.Lock() // a stream that is made anew meanwhile is listened to after that
	defer o.listening.Unlock()
	l := s.now.Load()
	sub, err := o.topics.site.conn.ChanSubscribe(l.say+token(o.topic), o.topics.came)
	if err != nil {
		return err
	}
	o.mu.Lock()
	was, closed := o.sub, o.closed
	o.sub, o.life = sub, l
	if was != nil {
		o.base = 0
	}
	o.mu.Unlock()
	if closed {
		was = sub
	} else if was != nil {
		o.line.add(step{do: func() { o.last, o.erased, o.floor = 0, nil, 0 }})
	}
	if was != nil {
		_ = was.Unsubscribe()
	}
	return nil
}

// shorten takes note that what is behind an offset is lost: what comes there is new.
func (o *order) shorten(top uint64) {
	o.mu.Lock()
	o.base = min(o.base, top)
	o.mu.Unlock()
	o.line.add(step{do: func() {
		o.last, o.floor = min(o.last, top), min(o.floor, top)
		o.erased = slices.DeleteFunc(o.erased, func(offset uint64) bool { return offset > top })
	}})
	o.marks.Lock()
	defer o.marks.Unlock()
	if o.marked > top {
		o.marked, o.top = 0, 0
	}
}

// listens returns what sub listens to, nil if that has ended.
func (o *order) listens(sub *client.Subscription) *life {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.sub != nil && o.sub != sub {
		return nil
	}
	return o.life
}

// from takes note of where the topic was when it was subscribed.
func (o *order) from(top uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.base = max(o.base, top)
}

// close ends the announcements, after one that goes on.
func (o *order) close() {
	o.mu.Lock()
	sub, timer := o.sub, o.timer
	for _, h := range o.delayed {
		h.step.end()
	}
	o.closed, o.delayed = true, nil
	o.mu.Unlock()
	if sub != nil {
		_ = sub.Unsubscribe()
	}
	if timer != nil {
		timer.Stop()
	}
	o.line.close()
}

// add puts a step into the line. Without room for it all that waits is dropped, and the sink
// is told.
func (o *order) add(s step) {
	s.size += perStep
	if !o.line.add(s) {
		o.lose()
	}
}

// lose drops what waits. What was retained is in the history.
func (o *order) lose() {
	o.line.replace(step{size: perStep, do: func() { o.topics.sink.Lost(o.topic) }}) // the next loss takes its place
}

// retained puts a message into the line, and what was held for it behind it.
func (o *order) retained(l *life, r *record) {
	o.add(step{size: len(r.Payload), do: func() { o.announce(l, r) }})
	o.mu.Lock()
	o.base = max(o.base, r.Offset)
	o.mu.Unlock()
	o.release(time.Time{})
}

// hold puts a step into the line when the message at an offset is in it, or after a second.
func (o *order) hold(after uint64, s step) {
	o.mu.Lock()
	if o.base >= after || o.closed || len(o.delayed) >= maxDelayed || o.delayedBytes+s.size > maxDelayedBytes {
		o.mu.Unlock()
		o.add(s)
		return
	}
	o.delayed = append(o.delayed, delayed{after, time.Now().Add(holding), s})
	o.delayedBytes += s.size
	if o.timer == nil {
		o.timer = o.topics.site.tasks.After(holding, func() { o.release(time.Now()) })
	}
	o.mu.Unlock()
}

// release puts into the line what is held and need not be any longer.
func (o *order) release(now time.Time) {
	o.mu.Lock()
	var free []delayed
	o.delayed = slices.DeleteFunc(o.delayed, func(h delayed) bool { // which leaves nothing of them behind
		due := h.after <= o.base || !now.IsZero() && !now.Before(h.until)
		if due {
			free = append(free, h)
			o.delayedBytes -= h.step.size
		}
		return due
	})
	if !now.IsZero() {
		o.timer = nil
		if len(o.delayed) > 0 && !o.closed {
			o.timer = o.topics.site.tasks.After(o.delayed[0].until.Sub(now), func() { o.release(time.Now()) })
		}
	}
	o.mu.Unlock()
	for _, h := range free {
		o.add(h.step)
	}
}

// announce tells the sink of a message, and before that of what it erases. It is a step of the
// line.
func (o *order) announce(l *life, r *record) {
	if r.Offset != 0 {
		if r.Offset <= o.last { // it comes again, from a leader that is new
			return
		}
		o.last = r.Offset
		r.Prev = o.behind(r)
	}
	if r.Erases != 0 && r.Offset != 0 {
		at := store.Position{Epoch: l.epoch, Offset: r.Erases}
		if r.Erases == store.All {
			at.Offset, o.floor = 0, r.Offset-1
		} else {
			o.topics.erased.add(l.epoch, o.topic, r.Erases)
			o.topics.backlog.repeat(l.epoch, o.topic, r.Erases)
		}
		o.tellErased(at)
	}
	if r.mark || r.Offset != 0 && o.isErased(r.Offset) {
		return
	}
	o.topics.sink.Published(broker.Publication{Message: r.Message, Epoch: epochOf(l, r), Topic: o.topic, From: r.from})
}

func epochOf(l *life, r *record) string {
	if r.Offset == 0 {
		return ""
	}
	return l.epoch
}

// tellErased tells the sink. It is a step of the line.
func (o *order) tellErased(at store.Position) {
	if at.Offset != 0 {
		if o.isErased(at.Offset) {
			return
		}
		if o.erased = append(o.erased, at.Offset); len(o.erased) > recent {
			o.erased = o.erased[1:]
		}
	}
	o.topics.sink.Erased(o.topic, at)
}

// isErased reports whether the message at an offset was erased.
func (o *order) isErased(offset uint64) bool {
	if offset <= o.floor {
		return true
	}
	return slices.Contains(o.erased, offset)
}

// behind returns the offset of the message that r follows: the server may have named a mark.
func (o *order) behind(r *record) uint64 {
	o.marks.Lock()
	defer o.marks.Unlock()
	if r.mark {
		o.marked, o.top = r.Offset, r.Prev
	} else if r.Prev != 0 && r.Prev == o.marked {
		return o.top
	}
	return r.Prev
}

// mark takes note of a mark that was read.
func (o *order) mark(r *record) {
	o.marks.Lock()
	defer o.marks.Unlock()
	if r.Offset > o.marked {
		o.marked, o.top = r.Offset, r.Prev
	}
}
