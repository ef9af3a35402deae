package channel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-chime/chime/internal/presence"
)

// Presence has the members of a topic told who is present: each as it joins, by an event
// presence_state, and then of what changes, by presence_diff, in the shapes of Phoenix.
// Clients show it by the Presence of phoenix.js, or channel.presence of chime.js.
//
// Of is called once for each join that was accepted, before its reply. Key is who is
// present, commonly the ID of an identity: 1 to 255 bytes of UTF-8 without control
// characters. It may have several connections, each with a meta of its own: an object
// of at most 4 KiB of JSON, or nil. If it can't be told the client reads "internal" and
// is not let in, the log has the error, and HandleLeave is called with Panicked; so it is
// if Of panics.
//
// A client is present when HandleMember is called, and no longer when HandleLeave is. It
// stays so while it has no connection and may resume.
func Presence(of func(s *Socket) (key string, meta any)) Option { return present(of) }

type present func(s *Socket) (key string, meta any)

func (p present) apply(r *route) error {
	switch {
	case p == nil:
		return errors.New("Presence: the function is nil")
	case r.present != nil:
		return errors.New("Presence is given twice: want one")
	}
	r.present = p
	return nil
}

// of asks the application how s is present.
func (p present) of(s *Socket) (key string, meta json.RawMessage, err error) {
	key, given := p(s)
	if err := presence.CheckKey(key); err != nil {
		return "", nil, err
	}
	meta, err = presence.Encode(given)
	return key, meta, err
}

// Present is who is present under a key.
type Present struct {
	Key string
	// Metas has one JSON object for each connection, in the order in which they came or
	// were updated last: what was given to Presence or UpdatePresence, and phx_ref.
	Metas []json.RawMessage
}

// UpdatePresence changes the meta of this client, from HandleMember on. For the other
// clients that is one change, in which it does not leave. It does not wait: of several
// updates within 100 ms the last is told. After the leave it returns ErrLeft.
func (s *Socket) UpdatePresence(meta any) error {
	if s.here == nil {
		return fmt.Errorf("topic %q: %w", s.Topic(), ErrNoPresence)
	}
	text, err := presence.Encode(meta)
	if err == nil {
		err = s.place.presence.Update(s.here, text)
	}
	switch {
	case errors.Is(err, presence.ErrLeft):
		return ErrLeft
	case err != nil:
		return fmt.Errorf("update presence in %q: %w", s.Topic(), err)
	}
	return nil
}

// Presence returns who is present in a topic, ordered by key. With an error it may return
// those on some of the nodes.
func (h *Hub) Presence(ctx context.Context, topic string) ([]Present, error) {
	r, err := h.routes.of(topic)
	switch {
	case err != nil:
		return nil, err
	case r.present == nil:
		return nil, fmt.Errorf("topic %q: %w", topic, ErrNoPresence)
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	all, err := h.topics.presence(ctx, topic)
	if err != nil {
		err = fmt.Errorf("presence of %q: %w", topic, err)
	}
	var list []Present
	for _, one := range all {
		if n := len(list); n == 0 || list[n-1].Key != one.Key {
			list = append(list, Present{Key: one.Key})
		}
		who := &list[len(list)-1]
		who.Metas = append(who.Metas, one.Meta)
	}
	return list, err
}
