package channel

import (
	"context"

	"github.com/go-chime/chime/store"
)

// Live is what an application does with its topics and clients from outside of
// channels: in production a *chime.Router, in a test a *channeltest.Hub. Code that
// publishes or moderates takes a Live, and is tested without a server. The methods are
// those of chime.Router, where their errors are.
type Live interface {
	Broadcast(ctx context.Context, topic, event string, payload any, options ...SendOption) error
	History(ctx context.Context, topic string, n int) ([]store.Message, store.Position, error)
	HistoryBefore(ctx context.Context, topic string, before store.Position, n int) (store.Page, error)
	Forget(ctx context.Context, topic string) error
	Redact(ctx context.Context, topic string, offset uint64) error
	Draft(ctx context.Context, topic, event string, payload any, write DraftFunc) (id string, err error)
	StopDraft(ctx context.Context, topic, id string) error
	Members(ctx context.Context, topic string) ([]Member, error)
	Presence(ctx context.Context, topic string) ([]Present, error)
	Disconnect(ctx context.Context, identity string) error
}
