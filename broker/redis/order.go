package redis

import (
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

const (
	// What of one topic waits to be announced. Of what comes beyond it the sink is told
	// that it is missing: it reads it from the history.
	maxWaiting      = 1024
	maxWaitingBytes = 4 << 20
	// perMessage is what a message counts besides its own bytes.
	perMessage = 128
)

// order announces what comes in one topic, one at a time and in the order in which it came.
// The connection only adds to a list. There is a goroutine for as long as the list is not
// empty, so a topic that waits for its members holds up no other.
type order struct {
	engine *engine
	sink   broker.Sink
	here   *presences
	census *census
	topic  string

	announcing sync.Mutex // held while the sink is told; taken before mu
	audience   audience   // guarded by announcing

	mu      sync.Mutex // guards what follows
	waiting []string
	bytes   int
	missing bool      // some of it
	seen    *snapshot // who is present, when it was read
	running bool
	closed  bool // nothing is announced any more
}

// add puts what came behind what is to be announced. It does not block.
func (o *order) add(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.waiting) >= maxWaiting || len(o.waiting) > 0 && o.bytes+len(text) > maxWaitingBytes {
		if !o.missing {
			o.engine.log.Warn("broker/redis: a topic does not keep up with its announcements, and reads the history", "topic", o.topic)
		}
		o.missing = true
		return
	}
	o.waiting = append(o.waiting, text)
	o.bytes += len(text) + perMessage
	o.start()
}

// lose takes note that some of what was announced did not come.
func (o *order) lose() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.missing = true
	o.start()
}

// see takes note of who is present.
func (o *order) see(s *snapshot) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen = s
	o.start()
}

// start has the list announced. o.mu is held.
func (o *order) start() {
	if !o.running && !o.closed {
		o.running = true
		o.engine.tasks.Go(o.run)
	}
}

func (o *order) run() {
	for {
		o.mu.Lock()
		list, missing, seen := o.waiting, o.missing, o.seen
		o.waiting, o.bytes, o.missing, o.seen = nil, 0, false, nil
		o.running = !o.closed && (len(list) > 0 || missing || seen != nil)
		running := o.running
		o.mu.Unlock()
		if !running {
			return
		}
		for i, text := range list {
			list[i] = "" // it must not outlive its announcement
			o.tell(func() { o.announce(text) })
		}
		if seen != nil {
			o.tell(func() { o.arrive(seen) })
		}
		if missing {
			o.tell(func() {
				o.sink.Lost(o.topic)
				o.miss()
			})
		}
	}
}

// tell calls f unless o is closed. One call goes on at a time.
func (o *order) tell(f func()) {
	o.announcing.Lock()
	defer o.announcing.Unlock()
	o.mu.Lock()
	closed := o.closed
	o.mu.Unlock()
	if !closed {
		f()
	}
}

// close ends the announcements, after one that goes on.
func (o *order) close() {
	o.mu.Lock()
	o.closed, o.waiting, o.seen = true, nil, nil
	o.mu.Unlock()
	o.tell(func() {})
}

// announce tells the sink what came. o.announcing is held.
func (o *order) announce(text string) {
	line, rest, _ := strings.Cut(text, "\n")
	fields := strings.Split(line, " ")
	var err error
	switch fields[0] {
	case "M":
		err = o.publish(fields[1:], rest)
	case "E":
		err = o.erase(fields[1:])
	case "P", "G":
		err = o.change(fields, rest)
	default: // a newer version may tell of what this one knows nothing of
		o.engine.log.Debug("broker/redis: an announcement of a kind that is not known", "topic", o.topic, "kind", fmt.Sprintf("%.8q", fields[0]))
	}
	if err != nil { // what it is, the history knows
		o.engine.log.Error("broker/redis: an announcement can't be read", "topic", o.topic, "bytes", len(text), "error", err)
		o.sink.Lost(o.topic)
	}
}

func (o *order) publish(fields []string, rest string) error {
	p, err := published(fields, rest)
	if err != nil {
		return err
	}
	p.Topic = o.topic
	if p.Offset > 0 {
		p.Epoch = o.engine.nowEpoch()
	}
	if p.Erases != 0 {
		at := store.Position{Epoch: p.Epoch, Offset: p.Erases}
		if at.Offset == store.All {
			at.Offset = 0
		}
		o.sink.Erased(o.topic, at)
	}
	o.sink.Published(p)
	return nil
}

func (o *order) erase(fields []string) error {
	if len(fields) < 1 {
		return errForm
	}
	offset, err := strconv.ParseUint(fields[0], 10, 64)
	if err == nil {
		o.sink.Erased(o.topic, store.Position{Epoch: o.engine.nowEpoch(), Offset: offset})
	}
	return err
}

// over reports whether o is closed.
func (o *order) over() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closed
}
