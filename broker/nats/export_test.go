package nats

import (
	"context"
	"time"

	"github.com/go-chime/chime/store"
)

// At has the clock of a node be off by so much.
func At(o Options, off time.Duration) Options {
	o.wall = func() time.Time { return time.Now().Add(off) }
	return o
}

// Trim has a node delete now what it deletes in the background.
func Trim(ctx context.Context, b *Broker, topic string, keep store.Retention) error {
	return b.trimmer.trim(ctx, topic, keep)
}
