package redis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-chime/chime/broker"
)

// nodes is what a node knows of the others. It says that this one is up, and in whatever is wrong it
// says so again.
type nodes struct {
	engine *engine
	here   *presences
	asks   *asks
	alarm  func()        // has all topics look for what they may have missed
	saying chan struct{} // full while the engine is told that this node is up, and for good when it is not

	mu      sync.Mutex // guards what follows
	self    self
	doubts  presentOn // nodes that the engine may not know
	buried  []string  // nodes whose topics are looked through now
	lenient time.Time // until then no node is taken to be gone
}

// self is what a node says of itself.
type self struct {
	broker.Node        // without an ID it has not started to be one of the cluster
	text        string // JSON; "" is nothing
}

// roll is which nodes the engine knows, at a moment.
type roll struct {
	known bool          // it knew this node
	quiet time.Duration // since that was heard before
	nodes []state
}

// state is what the engine knows of a node.
type state struct {
	id    string
	heard string // µs
	quiet time.Duration
	stray bool // it was known only by those who are present on it
	broker.Node
}

func (n *nodes) init(e *engine, here *presences, asks *asks, alarm func()) {
	n.engine, n.here, n.asks, n.alarm = e, here, asks, alarm
	n.saying = make(chan struct{}, 1)
	n.doubts = presentOn{}
}

// StartCluster implements broker.Cluster. This node is named to the others when it can hear
// them.
func (b *Broker) StartCluster(node broker.Node, answer func(ctx context.Context, request []byte) ([]byte, error)) {
	n := &b.nodes
	b.tasks.Go(func() {
		channel := b.names.node(node.ID)
		for tries := 0; b.feed(channel).subscribe(b.ctx, channel, &b.asks) != nil; tries++ {
			if !pause(b.ctx, tries) {
				return
			}
		}
		text, err := json.Marshal(node)
		if err != nil {
			b.log.Error("broker/redis: this node can't be named", "error", err)
			return
		}
		b.asks.begin(answer)
		n.mu.Lock()
		n.self = self{node, string(text)}
		n.mu.Unlock()
		if err := n.beat(b.ctx); err != nil {
			b.log.Warn("broker/redis: the other nodes do not hear of this one yet", "error", err)
		}
	})
}

// name is the ID of this node, "" before the others may hear of it.
func (n *nodes) name() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.self.ID
}

// run says every few seconds that this node is up, and sees to those that are not.
func (n *nodes) run() {
	e := n.engine
	ticker := time.NewTicker(e.pace)
	defer ticker.Stop()
	failing := false
	for {
		ctx, cancel := context.WithTimeout(e.ctx, e.pace)
		err := errors.Join(n.beat(ctx), n.again(ctx))
		cancel()
		n.here.sweep()
		n.asks.forget()
		if failed := err != nil && e.ctx.Err() == nil; failed != failing {
			failing = failed
			if failed {
				e.log.Warn("broker/redis: the engine does not answer", "error", err)
			} else {
				e.log.Info("broker/redis: the engine answers again")
			}
		}
		select {
		case <-ticker.C:
		case <-e.ctx.Done():
			return
		}
	}
}

// beat says that this node is up.
func (n *nodes) beat(ctx context.Context) error {
	e := n.engine
	n.mu.Lock()
	text := n.self.text
	n.mu.Unlock()
	select {
	case n.saying <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	doubts := n.takeDoubts()
	r, err := n.list(ctx, n.engine.id, text)
	<-n.saying
	if err != nil {
		n.doubtAgain(doubts)
		return err
	}
	switch {
	case !r.known: // or they took it to be gone, and with it who is present here
		n.here.again()
	case r.quiet > silentBeats*e.pace:
		n.wait()
	}
	n.settle(ctx, doubts, r)
	if !n.waits() {
		for _, s := range r.nodes {
			if s.id != n.engine.id && s.quiet > e.dead() {
				n.bury(s)
			}
		}
	}
	err = e.look(ctx, func(ctx context.Context) error {
		return e.client.Do(ctx, e.client.B().Publish().Channel(e.names.beats(n.engine.id)).Message("beat").Build()).Error()
	})
	if err != nil {
		return fmt.Errorf("say that this node is up: %w", err)
	}
	return nil
}

// again looks whether the engine was emptied: then there is another epoch.
func (n *nodes) again(ctx context.Context) error {
	e := n.engine
	epoch, err := e.settings(ctx)
	if err != nil || epoch == e.nowEpoch() {
		return err
	}
	e.log.Error("broker/redis: the engine was emptied: all topics begin anew", "epoch", epoch)
	e.epoch.Store(epoch)
	n.alarm()
	return nil
}

// wait has no node be taken to be gone for a while. The engine was away, or another one
// with another clock has taken over, so the others could not say either that they are up.
func (n *nodes) wait() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lenient = time.Now().Add(n.engine.dead())
}

func (n *nodes) waits() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return time.Now().Before(n.lenient)
}

// list returns which nodes were heard of and when, after saying that id is up, if it is
// not "", and for how long that was not said before.
func (n *nodes) list(ctx context.Context, id, self string) (*roll, error) {
	e := n.engine
	var answer []string
	err := e.look(ctx, func(ctx context.Context) (err error) {
		answer, err = evaluate(ctx, e.client, beatScript, []string{e.names.nodes()}, id, self)
		return err
	})
	if err == nil && len(answer)%2 != 0 {
		err = errAnswer
	}
	if err != nil {
		return nil, fmt.Errorf("nodes: %w", err)
	}
	now, _ := strconv.ParseInt(answer[1], 10, 64)
	r := &roll{known: answer[0] != "0", quiet: apart(answer[0], now)}
	for pair := range slices.Chunk(answer[2:], 2) {
		heard, text, _ := strings.Cut(pair[1], " ")
		s := state{id: pair[0], heard: heard, quiet: apart(heard, now), stray: text == stray}
		if json.Unmarshal([]byte(text), &s.Node) != nil {
			s.Node = broker.Node{}
		}
		r.nodes = append(r.nodes, s)
	}
	return r, nil
}

// apart is how long it is from a moment to another, in µs, whichever is first: what was
// heard by a clock that was ahead was not heard just now.
func apart(heard string, now int64) time.Duration {
	at, _ := strconv.ParseInt(heard, 10, 64)
	return (time.Duration(now-at) * time.Microsecond).Abs()
}

// up returns the nodes that are.
func (n *nodes) up(ctx context.Context) ([]state, error) {
	r, err := n.list(ctx, "", "")
	if err != nil {
		return nil, err
	}
	missed := func(s state) bool { return s.id == n.engine.id && s.quiet > silentBeats*n.engine.pace }
	all := n.waits() || slices.ContainsFunc(r.nodes, missed) // as this one was, the others were
	return slices.DeleteFunc(r.nodes, func(s state) bool { return s.stray || !all && s.quiet > n.engine.dead() }), nil
}

// named are those of the nodes that say what they are, each once: a process that came before one
// of the same ID is left out.
func named(list []state) (all []broker.Node) {
	for _, s := range list {
		if s.ID != "" && !slices.ContainsFunc(all, func(n broker.Node) bool { return n.ID == s.ID }) {
			all = append(all, s.Node)
		}
	}
	return all
}

// Nodes implements broker.Cluster.
func (b *Broker) Nodes(ctx context.Context) ([]broker.Node, error) {
	list, err := b.nodes.up(ctx)
	if err != nil {
		return nil, fmt.Errorf("broker/redis: %w", err)
	}
	return named(list), nil
}

// leave takes this node out of the list.
func (n *nodes) leave(ctx context.Context) error {
	e := n.engine
	select {
	case n.saying <- struct{}{}: // what is being said must not come after
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return e.client.Do(ctx, e.client.B().Hdel().Key(e.names.nodes()).Field(n.engine.id).Build()).Error()
}
