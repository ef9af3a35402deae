package nats

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/go-chime/chime/broker"
)

const (
	beatEvery  = 3 * time.Second       // how often a node says that it is up
	firstBeat  = 50 * time.Millisecond // and after its first word; the time triples until then
	deadAfter  = 12 * time.Second      // without a word for so long it is not
	headerErr  = "Chime-Error"
	maxAnswers = 64 // requests of others that are answered at one time
)

// nodes are those that are up, as they say themselves.
type nodes struct {
	answer    func(context.Context, []byte) ([]byte, error)
	answering chan struct{} // one for each request that is being answered

	began time.Time

	mu    sync.Mutex // guards what follows
	self  broker.Node
	known map[string]*peer // by instance, without this one
}

// peer is another node.
type peer struct {
	node  broker.Node // without an ID if it has not started to be one of the cluster
	heard time.Time
}

// beat is what a node says of itself.
type beat struct {
	Instance string
	Node     broker.Node
	New      bool `json:",omitempty"` // it wants to hear of the others at once
	People   bool `json:",omitempty"` // somebody is present there
	Left     bool `json:",omitempty"`
}

// StartCluster implements broker.Cluster.
func (b *Broker) StartCluster(self broker.Node, answer func(context.Context, []byte) ([]byte, error)) {
	b.nodes.mu.Lock()
	b.nodes.self = self
	b.nodes.mu.Unlock()
	b.nodes.answer, b.nodes.answering = answer, make(chan struct{}, maxAnswers)
	if _, err := b.conn.Subscribe(b.names.ask(b.id), b.reply); err != nil {
		b.log.Warn("chime: broker/nats: no requests of other nodes", "error", err)
	}
	b.say(beat{New: true})
}

// reply answers a request of another node.
func (b *Broker) reply(m *client.Msg) {
	select {
	case b.nodes.answering <- struct{}{}:
	case <-b.ctx.Done():
		return
	}
	b.tasks.Go(func() {
		defer func() { <-b.nodes.answering }()
		ctx := b.ctx
		if wait, err := time.ParseDuration(text(m.Header, headerAfter)); err == nil {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, wait)
			defer cancel()
		}
		body, err := b.nodes.answer(ctx, m.Data)
		r := &client.Msg{Subject: m.Reply, Data: body}
		if err != nil {
			r.Header = client.Header{headerErr: {escape(err.Error())}}
		}
		if err := b.conn.PublishMsg(r); err != nil && b.ctx.Err() == nil {
			// Whoever asks must not wait for what can't be sent.
			_ = b.conn.PublishMsg(&client.Msg{Subject: m.Reply, Header: client.Header{headerErr: {escape(err.Error())}}})
		}
	})
}

// Nodes implements broker.Cluster.
func (b *Broker) Nodes(context.Context) ([]broker.Node, error) {
	if !b.conn.IsConnected() {
		return nil, broker.ErrUnavailable
	}
	b.nodes.mu.Lock()
	defer b.nodes.mu.Unlock()
	list := []broker.Node{b.nodes.self}
	for _, p := range b.nodes.known {
		if p.node.ID != "" {
			list = append(list, p.node)
		}
	}
	return list, nil
}

// Ask implements broker.Cluster.
func (b *Broker) Ask(ctx context.Context, request []byte) ([]broker.Answer, error) {
	if !b.conn.IsConnected() {
		return nil, broker.ErrUnavailable
	}
	b.nodes.mu.Lock()
	var answers []broker.Answer
	var instances []string
	for instance, p := range b.nodes.known {
		if p.node.ID != "" {
			answers, instances = append(answers, broker.Answer{Node: p.node}), append(instances, instance)
		}
	}
	b.nodes.mu.Unlock()
	header := client.Header{}
	if end, ok := ctx.Deadline(); ok {
		header[headerAfter] = []string{time.Until(end).String()}
	}
	var asking sync.WaitGroup
	for i := range answers {
		asking.Go(func() {
			answers[i].Body, answers[i].Err = b.request(ctx, &client.Msg{Subject: b.names.ask(instances[i]), Header: header, Data: request})
		})
	}
	asking.Wait()
	return answers, nil
}

// request asks one node.
func (b *Broker) request(ctx context.Context, m *client.Msg) ([]byte, error) {
	if ctx.Done() == nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, deadAfter, broker.ErrUnavailable)
		defer cancel()
	}
	r, err := b.conn.RequestMsgWithContext(ctx, m)
	switch {
	case errors.Is(err, client.ErrNoResponders):
		return nil, broker.ErrUnavailable
	case err != nil && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, err
	}
	if why := text(r.Header, headerErr); why != "" {
		return nil, errors.New(unescape(why))
	}
	return r.Data, nil
}

// say announces something of this node.
func (b *Broker) say(one beat) {
	b.nodes.mu.Lock()
	one.Instance, one.Node = b.id, b.nodes.self
	b.nodes.mu.Unlock()
	one.People = b.people.any()
	if body, err := json.Marshal(one); err == nil {
		_ = b.conn.Publish(b.names.alive(), body) // without a connection it is said again
	}
}

// beat says that this node is up, and looks which are not any more.
func (b *Broker) beat() {
	if _, err := b.conn.Subscribe(b.names.alive(), b.heard); err != nil {
		b.log.Warn("chime: broker/nats: other nodes are not heard", "error", err)
	}
	wait := firstBeat
	for {
		// Servers may not have told each other yet who is to be answered.
		b.say(beat{New: wait < beatEvery})
		select {
		case <-time.After(wait):
		case <-b.ctx.Done():
			return
		}
		wait = min(3*wait, beatEvery)
		for _, instance := range b.nodes.silent() {
			b.people.end(instance)
		}
		b.people.remind()
	}
}

// heard takes note of what another node says of itself.
func (b *Broker) heard(m *client.Msg) {
	var one beat
	if err := json.Unmarshal(m.Data, &one); err != nil || one.Instance == "" || one.Instance == b.id || b.ctx.Err() != nil {
		return
	}
	n := &b.nodes
	n.mu.Lock()
	if n.known == nil {
		n.known = map[string]*peer{}
	}
	_, met := n.known[one.Instance]
	if one.Left {
		delete(n.known, one.Instance)
	} else {
		n.known[one.Instance] = &peer{one.Node, time.Now()}
	}
	n.mu.Unlock()
	switch {
	case one.Left:
		b.people.end(one.Instance)
		return
	case one.New:
		b.say(beat{})
	case !met && time.Since(n.began) > deadAfter:
		// Not a new one: it was not heard for some time, and others may not have been.
		b.suspect()
	}
	if !met && one.People {
		b.tasks.Go(func() { b.people.compare(b, b.names.listOf(one.Instance), map[string]bool{one.Instance: true}) })
	}
}

// silent forgets the nodes that were not heard of for too long, and returns them.
func (n *nodes) silent() (dead []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for instance, p := range n.known {
		if time.Since(p.heard) > deadAfter {
			dead = append(dead, instance)
			delete(n.known, instance)
		}
	}
	return dead
}

// others returns the instances of the nodes that are up.
func (n *nodes) others() map[string]bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := map[string]bool{}
	for instance := range n.known {
		all[instance] = true
	}
	return all
}

// leave says that this node is gone.
func (n *nodes) leave(b *Broker) {
	if b.sink == nil || !b.conn.IsConnected() {
		return
	}
	b.say(beat{Left: true})
	ctx, cancel := context.WithTimeout(b.ctx, time.Second)
	defer cancel()
	_ = b.conn.FlushWithContext(ctx)
}
