package chaos

import (
	"context"
	"log/slog"
	"time"

	natsclient "github.com/nats-io/nats.go"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/nats"
	"github.com/go-chime/chime/broker/redis"
)

// engine joins nodes that are processes. It is one or more of its own.
type engine interface {
	// addresses are where nodes reach it.
	addresses() []string
	// setup is what a node is to know that reaches each of the addresses by one of the ways.
	setup(ways []string) engineSetup
	// survives is what a node must say that a message survives.
	survives() broker.Survival
	// hurt has something befall it, which it survives, and returns when that is over.
	hurt(w *processes, d *dice)
	// stop has it be away until it is to go on.
	stop()
	goOn()
	// isWhole returns nil when nothing ails it.
	isWhole() error
	close()
}

// engineSetup is what a node is to know of its engine.
type engineSetup struct{ Redis, NATS string } // URLs, of which one is given

func (s engineSetup) open(ctx context.Context, giveUp time.Duration, log *slog.Logger) (broker.Broker, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if s.Redis != "" {
		return redis.Open(ctx, s.Redis, redis.Options{GiveUp: giveUp, Log: log})
	}
	return nats.Open(ctx, nats.Options{
		URL: s.NATS, Replicas: 3, GiveUp: giveUp, Log: log,
		Connect: []natsclient.Option{natsclient.IgnoreDiscoveredServers()}, // whose ways are not those of this node
	})
}
