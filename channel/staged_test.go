package channel

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

// staged is a store that a test can hold up, at the places where a slow disk
// would: before and after it reads, and between keeping a message and saying
// so. It gives all freedom that store.Store gives: a reader sees a message
// before it is announced.
type staged struct {
	store.Store
	watch   watch
	writing chan struct{} // full while something is written

	mu      sync.Mutex // guards what follows
	reads   int
	failed  int
	fails   int  // reads that are to fail
	failing int  // reads that are about to
	before  gate // a read
	after   gate // a read
	saying  gate // between keeping and announcing
	erased  gate // after Forget and Redact
}

// watch is told of what is written when it is, one at a time.
type watch interface {
	kept(topic string, m store.Message, keep store.Retention)
	said(topic string, offset uint64)
	forgot(topic string)
	redacted(topic string, offset uint64)
}

// announced is a broker that tells its watch of what it has announced.
type announced struct {
	broker.Broker
	watch watch
}

func (a announced) Publish(ctx context.Context, p broker.Publication, keep *store.Retention) (store.Position, error) {
	at, err := a.Broker.Publish(ctx, p, keep)
	if err == nil && keep != nil {
		a.watch.said(p.Topic, at.Offset)
	}
	return at, err
}

// gate is closed while its channel is not nil.
type gate chan struct{}

func newStaged(w watch, s store.Store) *staged {
	return &staged{Store: s, watch: w, writing: make(chan struct{}, 1)}
}

func (s *staged) pass(g *gate) {
	s.mu.Lock()
	closed := *g
	s.mu.Unlock()
	if closed != nil {
		<-closed
	}
}

func (s *staged) shut(g *gate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if *g == nil {
		*g = make(gate)
	}
}

func (s *staged) open(g *gate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if *g != nil {
		close(*g)
		*g = nil
	}
}

func (s *staged) Read(ctx context.Context, topic string, r store.Range) (store.Page, error) {
	s.mu.Lock()
	s.reads++
	fails := s.fails > 0
	if fails {
		s.fails--
		s.failed++
		s.failing++
	}
	s.mu.Unlock()
	s.pass(&s.before)
	if fails {
		s.mu.Lock()
		s.failing--
		s.mu.Unlock()
		return store.Page{}, errors.New("disk on fire")
	}
	p, err := s.Store.Read(ctx, topic, r)
	s.pass(&s.after)
	return p, err
}

// ill reports whether reads are to fail, or are about to.
func (s *staged) ill() (toFail, about bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fails > 0, s.failing > 0
}

func (s *staged) Append(ctx context.Context, topic string, m store.Message, keep store.Retention, announce func(store.Message)) (uint64, error) {
	s.writing <- struct{}{}
	defer func() { <-s.writing }()
	m.At = time.Time{} // it may have waited
	var given store.Message
	if m.Erases == store.All {
		s.watch.forgot(topic)
	}
	if _, err := s.Store.Append(ctx, topic, m, keep, func(m store.Message) { given = m }); err != nil {
		return 0, err
	}
	if m.Erases != 0 {
		s.watch.redacted(topic, m.Erases)
		defer s.pass(&s.erased)
	}
	s.watch.kept(topic, given, keep)
	s.pass(&s.saying)
	announce(given)
	return given.Offset, nil
}

func (s *staged) Forget(ctx context.Context, topic string) error {
	return s.erase(func() error {
		s.watch.forgot(topic)
		return s.Store.Forget(ctx, topic)
	})
}

func (s *staged) Redact(ctx context.Context, topic string, offset uint64) error {
	return s.erase(func() error {
		err := s.Store.Redact(ctx, topic, offset)
		if err == nil {
			s.watch.redacted(topic, offset)
		}
		return err
	})
}

func (s *staged) erase(f func() error) error {
	defer s.pass(&s.erased)
	s.writing <- struct{}{}
	defer func() { <-s.writing }()
	return f()
}

// noSubscriptions is a broker that fails to subscribe, so many times, and counts
// the subscriptions of each topic.
type noSubscriptions struct {
	broker.Broker
	fails  int
	topics map[string]int
}

func (b *noSubscriptions) Subscribe(ctx context.Context, topic string) error {
	if b.fails > 0 {
		b.fails--
		return errors.New("broker unreachable")
	}
	if b.topics == nil {
		b.topics = map[string]int{}
	}
	b.topics[topic]++
	return b.Broker.Subscribe(ctx, topic)
}

func (b *noSubscriptions) Unsubscribe(topic string) {
	b.topics[topic]--
	b.Broker.Unsubscribe(topic)
}
