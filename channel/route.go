package channel

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-chime/chime/internal/fanout"
	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/store"
)

// Option is a decision for the topics of a channel: History, or what Use, Presence or Outgoing makes.
type Option interface {
	apply(*route) error
}

// History says what the topics of a channel retain. Without it they retain
// nothing.
type History struct {
	// Keep is how many messages each topic retains at most; it must be given.
	Keep int
	// Age is how long a message is retained: zero is the default of 24 h, Forever
	// is until Keep newer ones have come.
	Age time.Duration
	// Replay is how many of the newest messages a join is sent that gives neither
	// @since nor @last: at most 500, and by default none.
	Replay int
	// Redacted and Forgotten name the events with which Redact and Forget tell clients to
	// remove what they show: "message_redacted" and "history_forgotten" by default.
	// They are retained, and count in Keep and Replay. Clients can't send them.
	Redacted, Forgotten string
}

// Forever is an Age without limit.
const Forever time.Duration = -1

const defaultAge = 24 * time.Hour

func (h History) apply(r *route) error {
	switch {
	case r.keep != nil:
		return errors.New("History is given twice: want one")
	case h.Age < 0 && h.Age != Forever:
		return fmt.Errorf("History.Age: %v: want a duration, 0 for 24h, or Forever", h.Age)
	case h.Keep <= 0:
		return fmt.Errorf("History.Keep: %d: want at least 1", h.Keep)
	case h.Replay < 0 || h.Replay > min(h.Keep, fanout.MaxReplay):
		return fmt.Errorf("History.Replay: %d: want 0 to %d", h.Replay, min(h.Keep, fanout.MaxReplay))
	}
	r.redacted, r.forgotten = cmp.Or(h.Redacted, defaultRedacted), cmp.Or(h.Forgotten, defaultForgotten)
	for _, event := range []string{r.redacted, r.forgotten} {
		if !validEvent(event) {
			return fmt.Errorf("History.Redacted or Forgotten: %w", badEvent(event))
		}
	}
	age := h.Age
	switch {
	case age == 0:
		age = defaultAge
	case age < 0:
		age = 0 // which is no limit in store.Retention
	}
	r.keep = &store.Retention{Keep: h.Keep, Age: age}
	r.replay = h.Replay
	return nil
}

// route is a pattern with its channel.
type route struct {
	pattern             pattern
	names               []string
	channel             Channel          // with all that Use put around it
	member              MemberHandler    // nil: the channel has no HandleMember
	keep                *store.Retention // nil: no history
	replay              int
	redacted, forgotten string  // events
	present             present // nil: nobody is told who is present
	around              []Middleware
	outgoing            map[string]OutgoingFunc // by event
	stats               *stats.Pattern
}

// fanout is what a topic of this route works with.
func (r *route) fanout(c fanout.Config) fanout.Config {
	c.Seconds = &r.stats.Fanout
	if r.keep == nil {
		c.History = nil
		return c
	}
	c.Keep, c.Age, c.Replay = r.keep.Keep, r.keep.Age, r.replay
	return c
}

// newRoute returns a route, or an error that names a mistake in it.
func newRoute(text string, ch Channel, options []Option) (*route, error) {
	if ch == nil {
		return nil, errors.New("the channel is nil")
	}
	if err := checkMethods(reflect.TypeOf(ch)); err != nil {
		return nil, fmt.Errorf("%T.%w", ch, err)
	}
	if events, ok := ch.(interface{ check() error }); ok {
		if err := events.check(); err != nil {
			return nil, err
		}
	}
	p, err := parsePattern(text)
	if err != nil {
		return nil, err
	}
	r := &route{pattern: p, names: p.names(), channel: ch}
	for _, o := range options {
		if err := o.apply(r); err != nil {
			return nil, err
		}
	}
	if err := r.checkEvents(); err != nil {
		return nil, err
	}
	return r, r.wrap()
}

// checkEvents names an event that can't be used as it is meant to.
func (r *route) checkEvents() error {
	if r.keep != nil {
		for _, event := range []string{r.redacted, r.forgotten} {
			if who := r.sends(event); who != "" {
				return fmt.Errorf("History.Redacted or Forgotten: event %q: want another, since %s sends that one", event, who)
			}
		}
	}
	if events, ok := r.channel.(interface{ names() []string }); ok {
		for _, event := range events.names() {
			if !r.takes(event) {
				return fmt.Errorf("event %q: it has a handler, and no client may send it: want another", event)
			}
		}
	}
	return nil
}

// routes are ordered from the most specific to the least.
type routes []*route

func (rs *routes) add(r *route) error {
	i, found := slices.BinarySearchFunc(*rs, r, func(a, b *route) int { return a.pattern.compare(b.pattern) })
	if found {
		return fmt.Errorf("it matches the same topics as %q: want one of them", (*rs)[i].pattern.text)
	}
	*rs = slices.Insert(*rs, i, r)
	return nil
}

// match finds the route of a topic. Chime's own topics have none, even if a pattern
// is "*": their frames are about the connection.
func (rs *routes) match(topic string) *route {
	if !wire.Counted(topic) {
		return nil
	}
	for _, r := range *rs {
		if r.pattern.match(topic) {
			return r
		}
	}
	return nil
}

// of returns the route of a topic that clients could join.
func (rs *routes) of(topic string) (*route, error) {
	if !wire.ValidName(topic) {
		return nil, fmt.Errorf("topic %.80q: %w: want 1 to %d bytes of UTF-8 without control characters", topic, ErrNoChannel, wire.MaxName)
	}
	r := rs.match(topic)
	if r == nil {
		return nil, fmt.Errorf("topic %q: %w", topic, ErrNoChannel)
	}
	return r, nil
}

// keeping returns the route of a topic that has a history.
func (rs *routes) keeping(topic string) (*route, error) {
	r, err := rs.of(topic)
	if err == nil && r.keep == nil {
		err = fmt.Errorf("topic %q: %w", topic, ErrNoHistory)
	}
	return r, err
}

// nearest returns the pattern that a topic comes nearest to, for a person, or "" if
// there is none at all.
func (rs *routes) nearest(topic string) string {
	near, best := "", 0
	for _, r := range *rs {
		if d := distance(topic, r.pattern.like(topic)); near == "" || d < best {
			near, best = r.pattern.text, d
		}
	}
	return near
}

// param returns the value for a name.
func (r *route) param(values []string, name string) string {
	name = strings.Trim(name, "{}")
	if i := slices.Index(r.names, name); i >= 0 {
		return values[i]
	}
	return ""
}
