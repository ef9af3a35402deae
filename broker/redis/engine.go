package redis

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/go-chime/chime/internal/quiet"
	"github.com/go-chime/chime/internal/task"
)

// engine is what the parts of a broker stand on: the way to Redis, what everything there is
// called, how long one waits for it, and the end of all.
type engine struct {
	client  rueidis.Client
	names   names
	log     *slog.Logger
	giveUp  time.Duration
	pace    time.Duration // of beats
	waits   int64         // for how many replicas a publisher waits
	cluster bool          // it is a Redis Cluster
	id      string        // of this process, whatever it is called
	epoch   atomic.Value  // string
	deaf    atomic.Int32  // how many feeds have lost their connection

	ctx   context.Context // ends with Close
	end   context.CancelFunc
	tasks task.Group // all goroutines but those of client
}

func newEngine(client rueidis.Client, o Options) *engine {
	var id [6]byte
	_, _ = rand.Read(id[:]) // ends the program rather than fail
	e := &engine{
		client: client, names: names{o.Prefix}, log: slog.New(quiet.New(o.Log.Handler())), giveUp: o.GiveUp, pace: o.pace, waits: int64(o.WaitReplicas),
		cluster: client.Mode() == rueidis.ClientModeCluster, id: base64.RawURLEncoding.EncodeToString(id[:]),
	}
	e.ctx, e.end = context.WithCancel(context.Background())
	return e
}

// dead is how long nothing is heard of a node before it is taken to be gone.
func (e *engine) dead() time.Duration { return deadBeats * e.pace }

// format is that of what is kept, in the settings of a prefix.
const format = "1"

// settings reads those of the prefix, or makes them: the format, and the epoch, which is
// that of all topics until somebody empties the engine.
func (e *engine) settings(ctx context.Context) (epoch string, err error) {
	fresh := make([]byte, 12)
	_, _ = rand.Read(fresh) // ends the program rather than fail
	name := e.names.settings()
	var text string
	err = e.look(ctx, func(ctx context.Context) error {
		text, err = e.client.Do(ctx, e.client.B().Get().Key(name).Build()).ToString()
		if !rueidis.IsRedisNil(err) {
			return err
		}
		err := e.client.Do(ctx, e.client.B().Set().Key(name).Value(format+" "+base64.RawURLEncoding.EncodeToString(fresh)).Nx().Build()).Error()
		if ignoreNil(err) == nil { // or another node has made them
			text, err = e.client.Do(ctx, e.client.B().Get().Key(name).Build()).ToString()
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read %q: %w", name, err)
	}
	if len(text) <= len(format)+1 || text[:len(format)+1] != format+" " {
		return "", fmt.Errorf("read %q: %.20q: want format %s: it is that of another program or version, which needs another prefix", name, text, format)
	}
	return text[len(format)+1:], nil
}
