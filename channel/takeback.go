package channel

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

// The events that say that something was taken back, where History has no others.
const (
	defaultRedacted  = "message_redacted"
	defaultForgotten = "history_forgotten"
)

// Redact takes one message of a topic back: it is removed, and in the same step the event
// History.Redacted is broadcast and retained, {"offset": offset}, so that members and
// clients that come back later remove it too. It is store.ErrNotFound, which a client may
// read, if the topic does not have the message, or no longer.
func (h *Hub) Redact(ctx context.Context, topic string, offset uint64) error {
	r, err := h.routes.keeping(topic)
	if err != nil {
		return err
	}
	if offset == 0 || offset == store.All {
		return fmt.Errorf("redact %d of %q: %w", offset, topic, forClients(store.ErrNotFound))
	}
	said := store.Message{Event: r.redacted, Payload: fmt.Appendf(nil, `{"offset":%d}`, offset), Erases: offset}
	if err := h.publisher.takeBack(ctx, r, topic, said); err != nil {
		return fmt.Errorf("redact %d of %q: %w", offset, topic, forClients(err))
	}
	return nil
}

// Forget takes all messages of a topic back, as Redact does one. Its members stay. The
// event is History.Forgotten, {}, and about all that came before it. To forget a topic
// that has had no message is no error.
func (h *Hub) Forget(ctx context.Context, topic string) error {
	r, err := h.routes.keeping(topic)
	if err != nil {
		return err
	}
	err = h.publisher.takeBack(ctx, r, topic, store.Message{Event: r.forgotten, Payload: []byte("{}"), Erases: store.All})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("forget %q: %w", topic, err)
	}
	return nil
}

// takeBack publishes what erases something and says so, in one step: a process that ends
// leaves neither without the other.
func (p *publisher) takeBack(ctx context.Context, r *route, topic string, m store.Message) error {
	m.At = time.Now()
	_, err := p.publish(ctx, broker.Publication{Topic: topic, Message: m}, r.keep)
	return err
}
