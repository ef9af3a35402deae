package channel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/transport"
)

// askWait is how long the other nodes may take to answer if whoever asks sets no limit.
const askWait = 5 * time.Second

// peers are the other nodes of an application. What is asked of all is asked of this one
// by whoever asks.
type peers struct {
	cluster    broker.Cluster // nil: there are none
	self       broker.Node
	members    func(topic string) []Member
	disconnect func(identity string)
	stopDraft  func(topic, id string) bool
	strangers  *strangers
}

// request is what one node asks of another. A node of a later version may ask what this
// one does not know.
type request struct {
	Members    *string       `json:"members,omitempty"`    // of a topic
	Disconnect []byte        `json:"disconnect,omitempty"` // an identity, which may be no UTF-8
	StopDraft  *draftText    `json:"stop_draft,omitempty"`
	Channels   *channelsText `json:"channels,omitempty"` // of the node that asks; the answer is those of the other
}

// draftText names a draft. The answer is whether it was stopped.
type draftText struct {
	Topic string `json:"topic"`
	ID    string `json:"id"`
}

// memberText is a Member as nodes tell each other. What the application put into the Value
// of an identity stays where it is.
type memberText struct {
	ID       string    `json:"id"`
	Identity []byte    `json:"identity"`
	Expires  time.Time `json:"expires"`
}

var errRequest = errors.New("the node does not know this request: it may be of another version")

// answer is what this node answers another.
func (p *peers) answer(_ context.Context, text []byte) ([]byte, error) {
	var r request
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	switch {
	case r.Disconnect != nil:
		p.disconnect(string(r.Disconnect))
		return nil, nil
	case r.Members != nil:
		var list []memberText
		for _, m := range p.members(*r.Members) {
			list = append(list, memberText{m.ID, []byte(m.Identity.ID), m.Identity.Expires})
		}
		return json.Marshal(list)
	case r.StopDraft != nil:
		return json.Marshal(p.stopDraft(r.StopDraft.Topic, r.StopDraft.ID))
	case r.Channels != nil:
		p.strangers.compare(*r.Channels)
		return json.Marshal(p.strangers.mine())
	}
	return nil, errRequest
}

// ask asks all others, and calls f with what each answers. Its error names those that did
// not.
func (p *peers) ask(ctx context.Context, r request, f func(node broker.Node, body []byte) error) error {
	if p.cluster == nil {
		return nil
	}
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, askWait)
		defer cancel()
	}
	text, _ := json.Marshal(r) // has no error
	answers, err := p.cluster.Ask(ctx, text)
	failed := []error{err}
	for _, a := range answers {
		err := a.Err
		if err == nil && f != nil {
			err = f(a.Node, a.Body)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("node %s (%s): %w", a.Node.ID, a.Node.Name, err))
		}
	}
	return errors.Join(failed...)
}

// named returns an error as long as the other nodes do not know this one: a client that
// comes to them after it was here would begin anew.
func (p *peers) named(ctx context.Context) error {
	if p.cluster == nil {
		return nil
	}
	nodes, err := p.cluster.Nodes(ctx)
	if err == nil && !slices.ContainsFunc(nodes, func(n broker.Node) bool { return n.ID == p.self.ID }) {
		err = ErrUnnamed
	}
	if err != nil {
		return fmt.Errorf("nodes: %w", err)
	}
	return nil
}

// ErrUnnamed is the error of Router.Health as long as the other nodes do not know this one, as when
// it starts.
var ErrUnnamed = errors.New("the other nodes do not know this one yet")

// stop stops a draft that another node writes, and reports whether there is one. The error says
// which nodes did not answer.
func (p *peers) stop(ctx context.Context, topic, id string) (stopped bool, err error) {
	err = p.ask(ctx, request{StopDraft: &draftText{topic, id}}, func(_ broker.Node, body []byte) error {
		var there bool
		err := json.Unmarshal(body, &there)
		stopped = stopped || there
		return err
	})
	return stopped, err
}

// Members returns who is in a topic, on all nodes, in no particular order. With an error it
// returns those of the nodes that have answered. Members of other nodes have an Identity
// without its Value.
func (h *Hub) Members(ctx context.Context, topic string) ([]Member, error) {
	list := h.members(topic)
	err := h.peers.ask(ctx, request{Members: &topic}, func(node broker.Node, body []byte) error {
		var there []memberText
		if err := json.Unmarshal(body, &there); err != nil {
			return err
		}
		node.Key = ""
		for _, m := range there {
			list = append(list, Member{m.ID, transport.Identity{ID: string(m.Identity), Expires: m.Expires}, node})
		}
		return nil
	})
	if err != nil {
		return list, fmt.Errorf("members of %q: %w", topic, err)
	}
	return list, nil
}

// Disconnect has all nodes end the client sockets of an identity.
func (h *Hub) Disconnect(ctx context.Context, identity string) error {
	h.peers.disconnect(identity)
	if err := h.peers.ask(ctx, request{Disconnect: []byte(identity)}, nil); err != nil {
		return fmt.Errorf("disconnect %q: %w", identity, err)
	}
	return nil
}
