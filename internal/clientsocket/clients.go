package clientsocket

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"sync/atomic"
	"time"

	"github.com/go-chime/chime/internal/flush"
	"github.com/go-chime/chime/internal/mono"
	"github.com/go-chime/chime/internal/queue"
	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/internal/task"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// Config is what the client sockets of a server have in common.
type Config struct {
	Accept    transport.Acceptor
	Node      string           // what secrets, and names of clients that poll, begin with
	Limits    transport.Limits // none is zero
	Grace     time.Duration    // zero is none
	Heartbeat time.Duration    // as hello names it
	Tasks     *task.Group      // owns all goroutines
	Stats     *stats.Stats     // nil: of its own
	Queues    *queue.Budget    // of all clients; nil: of its own, as Limits has it
	// Slow is told of each client that was slow, before its receiver is; nil is nobody.
	Slow func(c *ClientSocket, s Slowness)
}

// Slowness is what a client was too slow for.
type Slowness struct {
	Cause   stats.Slow
	Waiting int // bytes that had never been written
	Allowed int // that might wait, of Cause SlowQueue and SlowTotal
	Taken   int // that the queues of all clients held
}

// Clients opens the client sockets of a server, and holds what they share.
type Clients struct {
	Registry Registry
	rates    rates
	config   Config
	budget   *queue.Budget
	flushers flush.Flushers
	opened   atomic.Uint64
	endBy    atomic.Int64 // mono.Instant: when all have to be gone; 0: whenever
	waitKey  [16]byte     // of the names by which others may wait for clients that poll
}

// New returns what opens client sockets.
func New(cfg Config) *Clients {
	if cfg.Stats == nil {
		cfg.Stats = &stats.Stats{}
	}
	if cfg.Queues == nil {
		cfg.Queues = queue.NewBudget(cfg.Limits.TotalQueueBytes)
	}
	cs := &Clients{
		Registry: newRegistry(cfg.Limits),
		rates:    ratesOf(cfg.Limits),
		config:   cfg,
		budget:   cfg.Queues,
		flushers: flush.New(cfg.Tasks),
	}
	_, _ = rand.Read(cs.waitKey[:]) // never fails; see crypto/rand
	return cs
}

// QueueBytes returns what the queues of all clients hold, about.
func (cs *Clients) QueueBytes() int { return cs.budget.Taken() }

// EndBy says when all client sockets have to be gone: zero is whenever they are.
func (cs *Clients) EndBy(deadline time.Time) {
	at := int64(0)
	if left := time.Until(deadline); left > 0 { // else nobody waits
		at = int64(mono.Now().Add(left))
	}
	cs.endBy.Store(at)
}

// endWait is how long what is queued for a client that ends now may take: no more than half of
// the time that there is.
func (cs *Clients) endWait() time.Duration {
	if left := mono.Instant(cs.endBy.Load()).Sub(mono.Now()); left > 0 {
		return min(endWait, left/2)
	}
	return endWait
}

// BeginRound is Flushers.BeginRound.
func (cs *Clients) BeginRound() <-chan struct{} { return cs.flushers.BeginRound() }

// Opening is what a client socket is opened with.
type Opening struct {
	Identity transport.Identity
	Address  string // which an anonymous client is counted by; "" if it is not
	Dialect  stats.Dialect
	Polled   bool // it has a secret, whatever its dialect
	Context  context.Context
}

// Open makes c a client socket that n carries, greets it and gives it its
// receiver. What speaks for it or ends it meanwhile waits for that; the registry
// does not, since Accept is not ours. The error is ErrDraining, ErrIdentityFull or ErrFull.
func (cs *Clients) Open(c *ClientSocket, n *Connection, o Opening) error {
	cs.init(c, o)
	c.out.carrier, c.out.credentials.by = n, n.line.Transport()
	n.c = c
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	if c.chime { // written when it is known that c is let in, and before whatever Accept sends
		n.out.control = n.encode(cs.hello(c, n, c.out.credentials.current, false))
	}
	from := c.out.credentials.by
	cs.config.Stats.Opened(from, c.dialect) // before anybody can end it
	cs.config.Tasks.Add()                   // until the receiver is told of the end: Shutdown waits for that
	if err := cs.Registry.add(c, c.out.credentials.current, o.Address); err != nil {
		cs.config.Tasks.Done()
		cs.config.Stats.NotOpened(from, c.dialect)
		return err
	}
	if n.out.polled {
		cs.Registry.name(cs.waitName(c), c)
	}
	if c.chime {
		c.mu.Lock()
		n.out.rouse()
		c.mu.Unlock()
	}
	c.in.receiver = cs.config.Accept(c)
	return nil
}

// init makes c a client socket that is not yet known to anybody.
func (cs *Clients) init(c *ClientSocket, o Opening) {
	c.id = randomText(16)
	c.who, c.value = o.Identity.ID, o.Identity.Value
	c.expires.set(o.Identity.Expires)
	c.dialect = o.Dialect
	c.chime = o.Dialect == stats.Chime
	if o.Dialect == stats.Chime || o.Polled {
		c.out.credentials.current = cs.newSecret()
	}
	c.keeps = c.chime && cs.config.Grace > 0
	c.ctx = o.Context
	c.clients = cs
	c.in.c, c.out.c = c, c
	c.out.queue.Init(cs.budget)
	c.flusher = &cs.flushers[cs.opened.Add(1)%uint64(len(cs.flushers))]
}

// hello returns what greets c on connection n; c.mu is held unless nobody knows it yet.
func (cs *Clients) hello(c *ClientSocket, n *Connection, secret string, resumed bool) *wire.Message {
	wait := ""
	if n.out.polled {
		wait = cs.waitName(c)
	}
	return wire.Hello{
		ID: c.id, Secret: secret, Wait: wait,
		HeartbeatMS: cs.config.Heartbeat.Milliseconds(),
		GraceMS:     cs.config.Grace.Milliseconds(),
		Limits: wire.HelloLimits{
			MessageBytes: cs.config.Limits.MessageBytes, BatchBytes: cs.config.Limits.BatchBytes,
			BatchMessages: cs.config.Limits.BatchMessages, Topics: cs.config.Limits.Topics,
		},
		Transports: []string{transport.WebSocket, transport.SSE, transport.LongPoll},
		Resumed:    resumed,
		Received:   c.in.received.Load(),
		Sent:       c.out.queue.Sent(),
	}.Message()
}

func (cs *Clients) newSecret() string { return cs.config.Node + randomText(24) }

// randomText returns n random bytes as base64url.
func randomText(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails; see crypto/rand
	return base64.RawURLEncoding.EncodeToString(b)
}
