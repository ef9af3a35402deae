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

// Announced is how many announcements may wait to be given to their topics.
const Announced = announced

// Stall has a node give no announcement to its topic until it is released.
func Stall(b *Broker) (release func()) {
	b.topics.mu.Lock()
	return b.topics.mu.Unlock
}

// Received returns when a node has what the servers have sent it.
func Received(b *Broker) error { return b.site.conn.Flush() }

// Leave has a node say its last word, as Close does.
func Leave(b *Broker) { b.nodes.leave() }

// Beat has a node say that it is up.
func Beat(b *Broker) { b.nodes.say(beat{}) }
