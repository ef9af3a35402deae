package channels

import (
	"context"

	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/store"
)

// paid tells of an order. It is called again if the process ends before it is done.
func paid(ctx context.Context, live channel.Live, order string) (store.Position, error) {
	var at store.Position
	err := live.Broadcast(ctx, "orders:all", "order_paid", map[string]string{"order": order},
		channel.Once("paid "+order), channel.PositionTo(&at))
	return at, err
}
