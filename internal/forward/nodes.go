package forward

import (
	"context"
	"maps"
	"net/url"
	"sync"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/mono"
	"github.com/go-chime/chime/internal/task"
)

const (
	// fresh is how long it is believed that a node is up, or that nobody can say which are,
	// and hasty how long that others are not: one that has just begun has clients at once.
	fresh = time.Second
	hasty = 50 * time.Millisecond

	// For as long as tried a node is dialled that is named no longer.
	tried = 30 * time.Second

	// quiet is for how long a node is not dialled that could not be reached.
	quiet = 3 * time.Second

	// askWait is how long a broker may take to say which nodes there are.
	askWait = 2 * time.Second
)

// nodes are those that are up, as the broker says.
type nodes struct {
	list  func(context.Context) ([]broker.Node, error)
	tasks *task.Group

	mu     sync.Mutex // guards what follows
	places map[string]*place
	asking chan struct{} // closed when it is known which these are; nil if nobody asks
	known  mono.Instant  // when that was asked last; zero: never
	failed error         // why it could not be said
}

// place is where a node is, or was.
type place struct {
	id    string
	at    *url.URL
	key   string
	heard mono.Instant
	quiet mono.Instant // until when it is not dialled; 0: it is
}

// find returns where a node is, or nil if it is not up or not to be dialled. It reports
// false if nobody can say: then the node may be up.
func (n *nodes) find(ctx context.Context, id string) (p *place, certain bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	where, age := n.places[id], mono.Now().Sub(n.known)
	if n.known == 0 {
		age = tried
	}
	if n.asking == nil && age >= hasty && (age >= fresh || where == nil && n.failed == nil) {
		n.ask()
	}
	// For one that was named before nobody waits: to dial in vain costs little, and a broker may hang.
	if n.asking != nil && (where == nil || age >= tried) && n.await(ctx, n.asking) != nil {
		return nil, false
	}
	return n.places[id].dialled(), n.failed == nil
}

// await waits for the broker. n.mu is held, and given up meanwhile.
func (n *nodes) await(ctx context.Context, asking <-chan struct{}) error {
	n.mu.Unlock()
	defer n.mu.Lock()
	select {
	case <-asking:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ask asks which nodes are up, once for all who want to know. n.mu is held.
func (n *nodes) ask() {
	asking := make(chan struct{})
	n.asking = asking
	n.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), askWait)
		list, err := n.list(ctx)
		cancel()
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.failed = err; err == nil {
			n.take(list)
		}
		n.known, n.asking = mono.Now(), nil
		close(asking)
	})
}

// take takes note of which nodes are up. One that was is kept for a while although nobody
// names it: it may be the broker that has forgotten it. n.mu is held.
func (n *nodes) take(list []broker.Node) {
	now := mono.Now()
	for _, node := range list {
		if at, err := url.Parse(node.URL); err != nil || at.Host == "" {
			continue
		} else if p := n.places[node.ID]; p != nil && *p.at == *at {
			p.heard = now
		} else {
			n.places[node.ID] = &place{id: node.ID, at: at, key: node.Key, heard: now}
		}
	}
	maps.DeleteFunc(n.places, func(_ string, p *place) bool { return now.Sub(p.heard) > tried })
}

// dialled is p, or nil if it is not to be dialled now.
func (p *place) dialled() *place {
	if p == nil || p.quiet != 0 && p.quiet > mono.Now() {
		return nil
	}
	return p
}

// rest has a node not dialled for a while: each of the clients of a machine that is lost
// would hold a connection that is begun in vain.
func (n *nodes) rest(p *place) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p.quiet = mono.Now().Add(quiet)
}
