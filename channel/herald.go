package channel

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/fanout"
	"github.com/go-chime/chime/store"
)

// againEvery is how often text that other nodes may miss is said again, at most.
const againEvery = 250 * time.Millisecond

// herald tells the other nodes of a draft of this one, one piece after the other, while the
// draft grows, pauses or is missed. Nothing waits for it but the end of the draft. A nil herald
// tells nobody.
type herald struct {
	draft  *Draft
	wake   chan struct{} // there is something to tell
	cancel context.CancelFunc
	done   chan struct{}  // closed when nothing more is told
	at     store.Position // of the message, when it is published

	mu     sync.Mutex // guards missed
	missed int        // from where a node misses text; -1: none does
}

func newHerald(d *Draft) *herald {
	return &herald{draft: d, wake: make(chan struct{}, 1), done: make(chan struct{}), missed: -1}
}

// begin has it tell that there is a draft.
func (h *herald) begin() {
	if h != nil {
		ctx, cancel := context.WithCancel(context.Background())
		h.cancel = cancel
		h.draft.hub.tasks.Go(func() { h.run(ctx) })
	}
}

// grown has it tell what was added.
func (h *herald) grown() {
	if h == nil {
		return
	}
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// misses has it tell the text from a place on again.
func (h *herald) misses(from int) {
	if h == nil {
		return
	}
	h.mu.Lock()
	if h.missed < 0 || from < h.missed {
		h.missed = from
	}
	h.mu.Unlock()
	h.grown()
}

// stop returns when nothing more is told. The end of the draft follows.
func (h *herald) stop() {
	if h != nil {
		h.cancel()
		<-h.done
	}
}

// position has the broadcast of the message say where that is.
func (h *herald) position() []SendOption {
	if h == nil {
		return nil
	}
	return []SendOption{PositionTo(&h.at)}
}

// over tells how the draft has ended: with a reason, or as its message.
func (h *herald) over(ctx context.Context, reason string) {
	if h == nil {
		return
	}
	d := h.draft
	_ = d.hub.exchange.say(ctx, d.topic, fanout.Piece{
		Draft: d.id, Over: &fanout.Over{Reason: reason, Epoch: h.at.Epoch, Offset: h.at.Offset},
	}) // if it is not told the others find out by the message, or by the silence
	if reason == "" && h.at.Offset == 0 {
		d.place.AwaitMessage(d.shown)
	}
}

func (h *herald) run(ctx context.Context) {
	defer close(h.done)
	d := h.draft
	length := 0 // of the text that is told
	var again time.Time
	for ctx.Err() == nil {
		from, rest := length, fanout.DraftBeat
		if missed, wait := h.take(again); wait > 0 {
			rest = wait
		} else if missed >= 0 && missed < length {
			from, again = missed, time.Now().Add(againEvery)
		}
		p, end := d.place.Piece(d.shown, from)
		wake := h.wake
		switch err := d.hub.exchange.say(ctx, d.topic, p); {
		case err == nil:
			length = end
		case errors.Is(err, broker.ErrTooLarge): // who misses all that sees the message; the others go on
		default:
			length, wake = from, nil // nobody knows whether it came: it may come twice
		}
		timer := time.NewTimer(rest)
		select {
		case <-wake:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// take returns from where a node misses text; -1 if none does. If it is not to be told before
// a moment it returns how long that is.
func (h *herald) take(before time.Time) (missed int, wait time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if wait := time.Until(before); h.missed >= 0 && wait > 0 {
		return -1, wait
	}
	missed, h.missed = h.missed, -1
	return missed, 0
}
