package channel

import (
	"errors"
	"fmt"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

// SendOption is a decision for one broadcast: Ephemeral, Once, PositionTo.
type SendOption interface {
	apply(sending) sending
}

// sending is how an event is broadcast.
type sending struct {
	ephemeral bool
	from      string          // the ID of a client socket that is not sent it
	key       string          // "": it has none
	sum       string          // of what is compared when the key is used again; "": the event itself
	position  *store.Position // gets that of the event; nil: nobody asks
}

// Ephemeral has an event not retained.
func Ephemeral() SendOption { return ephemeral{} }

type ephemeral struct{}

func (ephemeral) apply(s sending) sending {
	s.ephemeral = true
	return s
}

// Once has an event broadcast once, however often that is tried with this key: as long
// as the topic retains it, across restarts too, doing it again sends and retains nothing
// and is no error. Another event or payload with the key is store.ErrKeyReused, which a
// client may read. Where the payload is made anew each time, with the time in it perhaps,
// give what it is made of as request: that is compared instead. A key has up to 255 bytes
// of text, "" is none, and each topic has its own. Where nothing is retained it is an error.
//
// Message.Once is this for a message of a client.
func Once(key string, request ...[]byte) SendOption {
	o := once{key: key}
	if len(request) > 0 {
		o.sum = digest(request...)
	}
	return o
}

type once struct{ key, sum string }

func (o once) apply(s sending) sending {
	s.key, s.sum = o.key, o.sum
	return s
}

// PositionTo has the position of the event, which a client needs to have it redacted,
// put into p: that of the first time, if the event is sent Once. It is zero for what is
// not retained.
func PositionTo(p *store.Position) SendOption { return positionTo{p} }

type positionTo struct{ p *store.Position }

func (o positionTo) apply(s sending) sending {
	s.position = o.p
	return s
}

type from string

func (id from) apply(s sending) sending {
	s.from = string(id)
	return s
}

// check returns an error for a key that nothing would remember. A client may read it,
// since it may have given the key.
func (s sending) check(keep *store.Retention) error {
	switch {
	case s.key == "" || keep != nil:
		return nil
	case s.ephemeral:
		return errEphemeralOnce
	}
	return errUnretainedOnce
}

var (
	errEphemeralOnce  = Refuse("key of an event that is not retained: want none")
	errUnretainedOnce = Refuse("key in a topic that retains nothing: want none")
)

// unsent returns what broadcast returns for an error of the broker.
func unsent(topic string, err error) error {
	return fmt.Errorf("broadcast to %q: %w", topic, forClients(err))
}

// forClients has clients read what a store says of what they have asked for themselves: of a
// key that is in use, and of a message that is gone, since two may take it back at once; and
// that an engine is away, which passes.
func forClients(err error) error {
	for _, known := range [...]struct {
		err  error
		text string
	}{
		{store.ErrKeyReused, store.ErrKeyReused.Error()},
		{store.ErrNotFound, store.ErrNotFound.Error()},
		{broker.ErrTooLarge, "message is too large"},
		{broker.ErrUnavailable, "unavailable"},
		{broker.ErrUncertain, "outcome unknown"}, // with a key it may be said again
	} {
		if errors.Is(err, known.err) {
			return clientError{err, &Error{known.text}}
		}
	}
	return err
}

// clientError is an error of which a client may read a part.
type clientError struct {
	error
	part *Error
}

// Unwrap returns both.
func (e clientError) Unwrap() []error { return []error{e.error, e.part} }
