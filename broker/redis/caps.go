package redis

import (
	"context"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

// explore finds out how the engine is set up. What it may not ask counts as the least.
func (e *engine) explore(ctx context.Context) broker.Caps {
	ctx, cancel := context.WithTimeout(ctx, e.giveUp)
	defer cancel()
	caps := broker.Caps{Nodes: true, Payload: maxPayload}
	c := e.client
	file, err := c.Do(ctx, c.B().ConfigGet().Parameter("append*").Build()).AsStrMap()
	if err != nil {
		e.log.Info("broker/redis: what messages survive can't be asked", "error", err)
		return caps
	}
	info, err := c.Do(ctx, c.B().Info().Section("replication").Build()).ToString()
	if err != nil {
		e.log.Info("broker/redis: what messages survive can't be asked", "error", err)
		return caps
	}
	switch {
	case file["appendonly"] != "yes":
		e.log.Info("broker/redis: a kill of the engine loses all messages", "appendonly", file["appendonly"])
	case file["appendfsync"] == "everysec":
		e.log.Info("broker/redis: a kill of the engine may lose what was said in the last two seconds", "appendfsync", "everysec")
	}
	caps.Survives = survives(file["appendonly"], file["appendfsync"], field(info, "connected_slaves"), e.waits, e.cluster)
	if policy, err := c.Do(ctx, c.B().ConfigGet().Parameter("maxmemory-policy").Build()).AsStrMap(); err == nil {
		if p := policy["maxmemory-policy"]; p != "" && p != "noeviction" {
			e.log.Warn("broker/redis: the engine drops keys when it is full: messages go, and topics become incomplete", "maxmemory-policy", p, "want", "noeviction")
		}
	}
	return caps
}

// survives is what a retained message does.
func survives(appendOnly, appendSync, replicas string, waits int64, cluster bool) broker.Survival {
	kept := appendOnly == "yes" && (appendSync == "always" || appendSync == "no")
	if n, _ := strconv.Atoi(replicas); !kept || (n > 0 || cluster) && waits == 0 { // a replica that takes over may not have it
		return broker.SurvivesNothing
	}
	s := broker.SurvivesKill
	if waits > 0 {
		s |= broker.SurvivesNode
	}
	if appendSync == "always" {
		s |= broker.SurvivesPower
	}
	return s
}

// field is one of what INFO answers.
func field(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// numbers are what is counted.
type numbers struct {
	commits, nanoseconds atomic.Uint64
}

func (n *numbers) commit(took time.Duration) {
	n.commits.Add(1)
	n.nanoseconds.Add(uint64(took))
}

// Stats are those of this node: how many messages it has published that are retained, and
// how long it has waited for that. The bytes are those of the engine, if it says so within
// a second, and may be of others too. Topics are not counted.
func (b *Broker) Stats() (store.Stats, bool) {
	ctx, cancel := context.WithTimeout(b.ctx, time.Second)
	defer cancel()
	s := store.Stats{Commits: b.numbers.commits.Load(), CommitTime: time.Duration(b.numbers.nanoseconds.Load())}
	if info, err := b.client.Do(ctx, b.client.B().Info().Section("memory").Build()).ToString(); err == nil {
		s.Bytes, _ = strconv.ParseInt(field(info, "used_memory"), 10, 64)
		s.MaxBytes, _ = strconv.ParseInt(field(info, "maxmemory"), 10, 64)
	}
	return s, true
}

// ignoreNil returns nil for an answer that there is nothing.
func ignoreNil(err error) error {
	if rueidis.IsRedisNil(err) {
		return nil
	}
	return err
}
