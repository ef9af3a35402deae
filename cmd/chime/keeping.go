package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/nats"
	"github.com/go-chime/chime/broker/nats/embedded"
	"github.com/go-chime/chime/broker/redis"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore"
)

const (
	reachTime = 10 * time.Second // for an engine to answer
	meetTime  = 2 * time.Minute  // for the other nodes to be started: a person may type their commands
)

// keeping is where the messages are, which this program ends.
type keeping struct {
	store  store.Store // or nil
	broker broker.Broker
	door   *guests
	where  string // for people: "in …"
	name   string // for the log
	close  []func() error
}

// option has the Router keep messages there.
func (k *keeping) option() chime.Option {
	if k.broker != nil {
		return chime.WithBroker(k.broker)
	}
	return chime.WithStore(k.store)
}

// Close ends what was opened last first.
func (k *keeping) Close() error {
	var errs []error
	for i := len(k.close); i > 0; i-- {
		errs = append(errs, k.close[i-1]())
	}
	return errors.Join(errs...)
}

// openHistory opens the file db, or a store in memory if there is none.
func openHistory(db string, log *slog.Logger) (*keeping, error) {
	if db == "" {
		kept := store.NewMemory()
		door, err := newGuests("")
		return &keeping{store: kept, door: door, where: "in memory only, until this process ends", close: []func() error{kept.Close}}, err
	}
	path, err := filepath.Abs(db)
	if err != nil {
		return nil, fmt.Errorf("--db: %w", err)
	}
	file, err := boltstore.Open(path, boltstore.Options{Log: log})
	if err != nil {
		return nil, fmt.Errorf("--db: %w", err)
	}
	door, err := newGuests(path + ".key")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("--db: %w", err), file.Close())
	}
	return &keeping{store: file, door: door, where: "in " + printable(path) + ", also after a restart", name: path, close: []func() error{file.Close}}, nil
}

// open reaches the broker, or begins it, within a time. Nothing is left of what fails. What a
// person waits for is said to out.
func (e *engine) open(ctx context.Context, out io.Writer, log *slog.Logger) (*keeping, error) {
	kind, err := e.kind()
	if err != nil {
		return nil, err
	}
	known, err := readSecret(e.secretFile)
	if err != nil {
		return nil, err
	}
	k := &keeping{door: &guests{known.key("passes")}}
	switch kind {
	case redisEngine:
		err = e.openRedis(ctx, k, log)
	case natsEngine:
		err = e.openNATS(ctx, k, log)
	default:
		err = e.openEmbedded(ctx, k, known, out, log)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("--broker: %w", err), k.Close())
	}
	k.close = append(k.close, k.broker.Close)
	k.where = "in " + k.name + ", where " + outlives(k.broker.Caps())
	return k, nil
}

// outlives says what messages survive.
func outlives(c broker.Caps) string {
	if c.Survives == broker.SurvivesNothing {
		return "a failure may lose them"
	}
	return "they survive " + c.Survives.String()
}

func (e *engine) openRedis(ctx context.Context, k *keeping, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	at, err := e.hosts(redisEngine)
	if err != nil {
		return err
	}
	k.name = "Redis at " + printable(at)
	b, err := redis.Open(ctx, e.broker, redis.Options{Prefix: e.prefix, WaitReplicas: e.waits, Log: log})
	if err == nil {
		k.broker = b
	}
	return err
}

func (e *engine) openNATS(ctx context.Context, k *keeping, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	at, err := e.hosts(natsEngine)
	if err != nil {
		return err
	}
	k.name = "NATS at " + printable(at)
	b, err := nats.Open(ctx, nats.Options{URL: e.broker, Prefix: e.prefix, Replicas: e.replicas, SyncAlways: e.sync, Log: log})
	if err == nil {
		k.broker = b
	}
	return err
}

// openEmbedded begins a server in this process and waits for the others.
func (e *engine) openEmbedded(ctx context.Context, k *keeping, known secret, out io.Writer, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, meetTime)
	defer cancel()
	name, unlock, err := claimDir(e.dir)
	if err != nil {
		return err
	}
	k.close = append(k.close, unlock)
	server, err := embedded.Start(embedded.Options{
		Dir: e.dir, Name: name, Cluster: e.cluster, Peers: e.peers, Secret: known.password("nats"), SyncAlways: e.sync, Log: log,
	})
	if err != nil {
		return err
	}
	k.close = append(k.close, server.Close)
	replicas := 1
	if len(e.peers) > 0 {
		fmt.Fprintf(out, "This node waits for those at %s.\n", printable(strings.Join(e.peers, " and ")))
		log.Info("waiting for other nodes", "cluster", e.cluster, "peers", e.peers)
	}
	if len(e.peers) > 1 {
		replicas = 3
	}
	k.name = fmt.Sprintf("NATS in %s", printable(e.dir))
	if replicas > 1 {
		k.name += fmt.Sprintf(" and on %d nodes in all", replicas)
	}
	if err := server.Ready(ctx); err != nil {
		return err
	}
	b, err := nats.Open(ctx, nats.Options{Server: server, Prefix: e.prefix, Replicas: replicas, SyncAlways: e.sync, Log: log})
	if err == nil {
		k.broker = b
	}
	return err
}
