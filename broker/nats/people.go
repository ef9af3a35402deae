package nats

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/mono"
)

const (
	// asking is how long the others have to say who is present on them. One that does not is
	// asked again when it reminds of itself.
	asking = time.Second
	// reminders is how many beats there are between two in which a node says where it is with
	// the topics that somebody is present in: what got lost is asked for then.
	reminders = 5
)

// people are those present, in the topics that this node has subscribed to. Each node
// announces its own, and numbers what it announces in a topic. Whoever finds that a number is
// missing asks it for all of them.
type people struct {
	site    *site
	nodes   *nodes
	changed func(string, broker.Change)
	came    chan *client.Msg
	doubt   chan struct{} // full when all nodes are to be asked for all who are present
	beats   int           // used by one goroutine

	mu     sync.Mutex // guards crowds
	crowds map[string]*crowd
}

// begin has changes told, and others answered.
func (p *people) begin(changed func(string, broker.Change)) {
	p.mu.Lock() // this node says already that it is up
	p.changed, p.crowds = changed, map[string]*crowd{}
	p.mu.Unlock()
	p.site.tasks.Go(p.dispatch)
	p.site.tasks.Go(p.ask)
	for _, subject := range []string{p.site.names.list(), p.site.names.listOf(p.site.id)} {
		if err := p.site.subscribe(subject, p.tell); err != nil {
			p.site.log.Warn("broker/nats: others can't ask who is present here", "error", err)
		}
	}
}

// dispatch gives what other nodes announce to the topics. It waits for none.
func (p *people) dispatch() {
	for {
		select {
		case m := <-p.came:
			if topic, ok := untoken(afterLastDot(m.Subject)); ok {
				if c := p.of(topic); c != nil {
					c.hear(m)
				}
			}
		case <-p.site.ctx.Done():
			return
		}
	}
}

// now is where versions begin: beyond those of the time when this node was in the topic before.
// A wall clock that is set back would begin with less.
func now() uint64 { return uint64(mono.Now()) } //nolint:gosec // not below 0

// close ends all changes.
func (p *people) close() {
	for _, c := range p.all() {
		c.line.close()
	}
}

func (p *people) of(topic string) *crowd {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.crowds[topic]
}

func (p *people) all() []*crowd {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Values(p.crowds))
}

// enter begins with a topic: it returns when all other nodes have said who is present on
// them, or a second is over.
func (p *people) enter(ctx context.Context, topic string) error {
	if p.changed == nil {
		return nil
	}
	c := &crowd{people: p, topic: topic, line: line{tasks: &p.site.tasks, most: maxWaiting}, others: map[string]*share{}, missing: map[string]uint64{}, mine: map[string]broker.Present{}, version: now()}
	p.mu.Lock()
	p.crowds[topic] = c
	p.mu.Unlock()
	var err error
	if c.sub, err = p.site.conn.ChanSubscribe(p.site.names.who(topic), p.came); err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	c.ask(within, p.site.names.list(), p.nodes.awaited())
	return nil
}

// leave ends with a topic.
func (p *people) leave(topic string) {
	p.mu.Lock()
	c := p.crowds[topic]
	delete(p.crowds, topic)
	p.mu.Unlock()
	if c != nil {
		c.close()
	}
}

// change has some of this node come and go in a topic.
func (p *people) change(topic string, change broker.Change) {
	if c := p.of(topic); c != nil {
		c.change(change)
	}
}

// end has all leave who are present on a node that is gone.
func (p *people) end(instance string) {
	for _, c := range p.all() {
		c.line.add(step{do: func() { c.set(instance, nil, 0) }})
	}
}

// compare has all nodes asked for all who are present, after announcements may have been lost.
// It waits for none of them.
func (p *people) compare() {
	select {
	case p.doubt <- struct{}{}:
	default:
	}
}

func (p *people) ask() {
	for {
		select {
		case <-p.doubt:
		case <-p.site.ctx.Done():
			return
		}
		for _, c := range p.all() {
			c.compare(p.site.names.list(), p.nodes.awaited())
		}
	}
}

// meet asks one node for all who are present.
func (p *people) meet(instance string) {
	p.site.tasks.Go(func() {
		for _, c := range p.all() {
			if p.nodes.awaited()[instance] { // not one that does not answer: it is met again
				c.compare(p.site.names.listOf(instance), map[string]bool{instance: true})
			}
		}
	})
}

// any reports whether somebody is present on this node.
func (p *people) any() bool {
	return slices.ContainsFunc(p.all(), func(c *crowd) bool {
		somebody, _ := c.inhabited()
		return somebody
	})
}

// remind says how far this node is with the topics that somebody is present in.
func (p *people) remind() {
	if p.beats++; p.beats%reminders != 0 {
		return
	}
	for _, c := range p.all() {
		if somebody, version := c.inhabited(); somebody {
			c.publish(news{Version: version})
		}
	}
}
