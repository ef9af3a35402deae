package channel

import (
	"encoding/json"
	"fmt"

	"github.com/go-chime/chime/internal/wire"
)

// What the clients of a world are sent is held against the model.

// look checks what every client has been sent since the last time.
func (w *world) look() {
	w.model.mu.Lock()
	defer w.model.mu.Unlock()
	for _, h := range w.model.topics {
		h.age()
	}
	for _, c := range w.clients {
		c.mu.Lock()
		list := c.sent
		c.sent = nil
		c.mu.Unlock()
		for _, s := range list {
			if wrong := w.see(c, s); wrong != "" {
				w.t.Errorf("%s: %s, in %.150s", c.id, wrong, s)
				return
			}
		}
		if c.over() {
			for _, v := range c.present {
				if v.ended == "" {
					v.ended = "the client has gone"
				}
			}
		}
	}
}

// see checks one message, and says what is wrong with it.
func (w *world) see(c *watched, s sent) string {
	switch s.m.Event {
	case wire.EventReply, wire.EventClose, wire.EventError:
		f, err := wire.Decode([]byte(s.String()))
		if err != nil {
			return err.Error()
		}
		return w.seeFrame(c, f, s.m.History())
	}
	v := c.present[s.m.Topic]
	if v == nil {
		return "it has not joined"
	}
	if v.ended != "" {
		return "its join has ended: " + v.ended
	}
	h := w.model.of(v.topic)
	if s.m.Offset > 0 {
		to := ""
		if v.ask.since != nil || v.ask.last >= 0 {
			to = v.ref
		}
		if s.to != to {
			return fmt.Sprintf("it is for join %q, want %q", s.to, to)
		}
		return v.got(h, s.m.Offset)
	}
	var n int
	var top uint64
	var notMe string
	_, _ = fmt.Sscanf(s.m.Event, "chat %d %d %s", &n, &top, &notMe)
	switch missed := v.missed(h, top); {
	case v.chatter[s.m.Event]:
		return "it comes twice"
	case notMe == c.id:
		return "it is its own"
	case len(missed) > 0:
		return fmt.Sprintf("it comes before %d", missed[0].offset)
	}
	v.chatter[s.m.Event] = true
	return ""
}

func (w *world) seeFrame(c *watched, f wire.Frame, history *wire.History) string {
	var p struct{ Status, Reason string }
	if err := json.Unmarshal(f.Payload, &p); err != nil {
		return err.Error()
	}
	switch {
	case f.Event == wire.EventReply && c.views[f.Ref.String()] != nil:
		v := c.views[f.Ref.String()]
		if p.Status != "ok" || v.reply != nil || history == nil {
			return "it is no reply to its join"
		}
		if old := c.present[f.Topic]; old != nil && old.ended == "" {
			old.ended = "it joined again"
		}
		c.present[f.Topic] = v
		return v.replied(w.model.of(v.topic), history)
	case f.Event == wire.EventReply:
		if v := c.present[f.Topic]; v != nil && v.ended == "" {
			v.ended = "it has left"
		}
		return ""
	}
	v := c.views[f.JoinRef.String()]
	if v == nil || v.reply == nil {
		return "it has no such join"
	}
	if f.Event == wire.EventClose {
		if v.ended == "" { // if it has been overtaken, it may have left at the same time
			return "its join goes on"
		}
		return ""
	}
	switch {
	case v.ended != "":
		return "its join has ended: " + v.ended
	case p.Reason == "history unavailable" && v.unread:
		v.ended = "what it was to be sent could not be read"
		return ""
	case p.Reason != "overrun" || !v.overtaken(w.model.of(v.topic)):
		return fmt.Sprintf("it was not overtaken at %d", v.pos)
	}
	v.ended = "it was overtaken"
	w.overruns++
	return ""
}
