package channel

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/go-chime/chime/internal/fanout"
	"github.com/go-chime/chime/internal/wire"
)

// A DraftFunc writes a draft. When it returns nil, or the ErrDraftFull of an Append, or
// when the draft was stopped, the draft becomes one message of the topic, with all its
// text. It is discarded if its text is empty, with an error made by Refuse, whose reason
// the members read, after a panic, and, unless it was stopped, with any other error.
//
// Ctx has the values of the context that the draft was begun with, and not its end. It
// ends when the draft is stopped, and with Shutdown. A DraftFunc that does not return
// then keeps Shutdown waiting, as a handler does.
type DraftFunc func(ctx context.Context, d *Draft) error

// Draft is a message that grows: its members watch its text come, and who joins
// meanwhile is sent what there is of it. It belongs to its topic, not to the client that
// asked for it. Its methods are safe for concurrent use.
type Draft struct {
	hub    *Hub
	route  *route
	place  *place
	topic  string
	event  string
	fields []byte // of the message, but for the text
	given  int    // bytes of these, without the ID
	id     string
	shown  *fanout.Draft
	herald *herald // nil: there are no other nodes, or they are shown nothing
	write  DraftFunc
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu    sync.Mutex // guards what follows, and the order of what is appended
	over  bool       // its DraftFunc has returned
	rest  string     // the first bytes of a letter, whose others are yet to come
	size  int        // of its text, as JSON has it
	timer *time.Timer
	due   bool // the timer runs, or what it has called
}

const (
	// deltaEvery is how long what is appended waits for more: a model's tokens would
	// otherwise be a broadcast each.
	deltaEvery = 40 * time.Millisecond
	// retainWithin bounds the wait for room in the store.
	retainWithin = 10 * time.Second
)

var errDraftCrashed = Refuse("crashed")

// Draft begins a message that grows in the topic, has write write it in a goroutine of
// its own, and returns its ID, which is that of the message too. The message has the
// event and the payload, an object, to which "draft", the ID, and "text" are added. It is
// retained, once, when write returns, if the channel has a History. Until then members
// are sent draft_start, draft_delta and, if they join meanwhile, draft_state; see the
// documents. It goes on when this client leaves. Ctx bounds the wait for the broker.
func (s *Socket) Draft(ctx context.Context, event string, payload any, write DraftFunc) (id string, err error) {
	return s.hub().draft(ctx, s.route, s.Topic(), event, payload, write)
}

// Draft is Socket.Draft for any topic.
func (h *Hub) Draft(ctx context.Context, topic, event string, payload any, write DraftFunc) (id string, err error) {
	r, err := h.routes.of(topic)
	if err != nil {
		return "", err
	}
	return h.draft(ctx, r, topic, event, payload, write)
}

// StopDraft ends the context of a draft of this topic, on whichever node it is written. It
// takes no more text; see DraftFunc for what becomes of it. The error is ErrNoDraft if the
// topic has no such draft, or none any more. Who may stop it is for the channel to say. Ctx
// bounds the wait for the other nodes.
func (s *Socket) StopDraft(ctx context.Context, id string) error {
	return s.hub().StopDraft(ctx, s.Topic(), id)
}

// StopDraft is Socket.StopDraft for any topic.
func (h *Hub) StopDraft(ctx context.Context, topic, id string) error {
	stopped, err := h.drafts.stop(topic, id), error(nil)
	if !stopped {
		stopped, err = h.peers.stop(ctx, topic, id)
	}
	switch {
	case stopped:
		return nil
	case err == nil:
		err = ErrNoDraft
	}
	return fmt.Errorf("stop draft %.40q of %.80q: %w", id, topic, err)
}

func (h *Hub) draft(ctx context.Context, r *route, topic, event string, payload any, write DraftFunc) (string, error) {
	text, fields, err := r.draftFields(event, payload)
	if err != nil {
		return "", err
	}
	d := &Draft{hub: h, route: r, topic: topic, event: event, write: write, id: rand.Text()[:16], given: len(fields)}
	d.fields = append(wire.AppendString([]byte(`{"draft":`), d.id), ',')
	if len(fields) > 0 {
		d.fields = append(append(d.fields, fields...), ',')
	}
	d.shown = fanout.NewDraft(d.id, event, text)
	d.ctx, d.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	if d.place, err = h.topics.enter(ctx, topic, r); err != nil {
		return "", fmt.Errorf("draft in %q: %w", topic, err)
	}
	if h.publisher.apart && !d.hidden() {
		d.herald = newHerald(d)
	}
	if err := h.drafts.add(d); err != nil {
		h.topics.exit(d.place)
		return "", fmt.Errorf("draft in %q: %w", topic, err)
	}
	if !d.hidden() {
		d.place.BeginDraft(d.shown)
	}
	d.herald.begin()
	h.tasks.Go(d.run)
	return d.id, nil
}

// hidden reports whether members see the draft when it is whole, and not before: each may
// be sent something else of it, or nothing.
func (d *Draft) hidden() bool { return d.route.outgoing[d.event] != nil }

// draftFields encodes a payload, and returns what is between its braces too.
func (r *route) draftFields(event string, payload any) (text, fields []byte, err error) {
	b, err := r.encode(event, payload)
	if err != nil {
		return nil, nil, err
	}
	if b.binary {
		return nil, nil, fmt.Errorf("draft of %q: payload is Binary: want an object, to which its text is added", event)
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(b.data, &keys); err != nil {
		return nil, nil, fmt.Errorf("draft of %q: %w", event, err)
	}
	for _, key := range []string{"draft", "text"} {
		if _, ok := keys[key]; ok {
			return nil, nil, fmt.Errorf("draft of %q: payload has %q, which the draft gives it", event, key)
		}
	}
	fields = bytes.TrimSpace(b.data)
	return b.data, bytes.TrimSpace(fields[1 : len(fields)-1]), nil
}

// ID names the draft, in the events that show it and in its message.
func (d *Draft) ID() string { return d.id }

// Append puts text at the end. It does not block: members are sent what has come in 40 ms
// together. Text may end within a letter, if the next one goes on there. After an error
// nothing of text was taken: ErrDraftOver if the draft was stopped, ErrDraftFull if there
// is no room, or that text is not UTF-8.
func (d *Draft) Append(text string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over || d.ctx.Err() != nil {
		return fmt.Errorf("append to draft %s: %w", d.id, ErrDraftOver)
	}
	whole, rest := cutLetter(d.rest + text)
	if !utf8.ValidString(whole) {
		return fmt.Errorf("append to draft %s: %.40q is not UTF-8", d.id, text)
	}
	quoted := wire.AppendString(nil, whole)
	more := quoted[1 : len(quoted)-1]
	if d.size+len(more) > maxDraftBytes || !d.hub.drafts.take(len(more)) {
		return fmt.Errorf("append %d bytes to the %d of draft %s: %w", len(more), d.size, d.id, ErrDraftFull)
	}
	d.rest = rest
	if len(more) == 0 {
		return nil
	}
	d.size += len(more)
	d.shown.Append(more)
	if !d.hidden() {
		d.expect()
	}
	return nil
}

// cutLetter returns s up to the bytes of a letter that is not complete, and those.
func cutLetter(s string) (whole, rest string) {
	for i := len(s) - 1; i >= 0 && i > len(s)-utf8.UTFMax; i-- {
		if utf8.RuneStart(s[i]) {
			if !utf8.FullRuneInString(s[i:]) {
				return s[:i], s[i:]
			}
			break
		}
	}
	return s, ""
}

// expect has what was appended shown soon. d.mu is held.
func (d *Draft) expect() {
	if !d.due {
		d.due = true
		d.timer = d.hub.tasks.After(deltaEvery, d.show)
	}
}

// show shows the members what was appended. While those who write to them are behind it
// waits, and more comes together.
func (d *Draft) show() {
	d.place.GrowDraft(d.shown)
	d.herald.grown()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.due = false
	if !d.over && d.shown.Waits() {
		d.expect()
	}
}

// run has the draft written, and then ends it.
func (d *Draft) run() {
	err := errDraftCrashed
	defer func() { d.end(err) }() // after a runtime.Goexit too
	err = d.call()
}

// call calls the application's function, and returns even if that has panicked.
func (d *Draft) call() (err error) {
	returned := false
	defer func() {
		if !returned {
			err = errDraftCrashed
			logPanic(d.hub.log, "DraftFunc", d.topic, d.event, recover())
		}
	}()
	err = d.write(d.ctx, d)
	returned = true
	return err
}

// end makes a message of the draft, or discards it.
func (d *Draft) end(err error) {
	why := d.close(err)
	d.herald.stop() // what it tells would come behind the message
	text := d.finish(why)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(d.ctx), retainWithin)
	defer cancel()
	if why == "" {
		payload := append(append(append(d.fields, `"text":"`...), text...), `"}`...)
		if err := d.hub.publisher.broadcast(ctx, d.route, d.topic, d.event, json.RawMessage(payload), d.herald.position()); err != nil {
			d.hub.log.Error("draft could not be published", "topic", d.topic, "event", d.event, "error", err)
			why = "internal"
			d.finish(why)
		}
	}
	d.herald.over(ctx, why)
	d.hub.drafts.remove(d)
	d.hub.topics.exit(d.place)
}

// finish takes the draft out of its topic. With a reason members are told.
func (d *Draft) finish(reason string) (text []byte) {
	if d.hidden() {
		reason = ""
	}
	return d.place.EndDraft(d.shown, reason)
}

// close ends what may be appended. It returns what members may read of why the draft is
// discarded, or "" if it is not.
func (d *Draft) close(err error) string {
	d.mu.Lock()
	d.over = true
	empty := d.size == 0
	if d.timer != nil {
		d.timer.Stop()
	}
	d.mu.Unlock()
	stopped := d.ctx.Err() != nil
	d.cancel(ErrDraftOver)
	why, public := readable(err)
	switch {
	case err == nil, errors.Is(err, ErrDraftFull), stopped && !public:
		if why = ""; empty {
			why = "empty"
		}
	case !public:
		d.hub.log.Error("draft failed", "topic", d.topic, "event", d.event, "error", err)
	}
	return why
}
