package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/go-chime/chime/broker"
)

// listFrom asks nodes who is present in a topic, and calls each for every answer that is whole.
// It returns when all others have answered, or ctx ends: those that have not are not waited for
// any more until they are heard of.
func (p *people) listFrom(ctx context.Context, subject, topic string, others map[string]bool, each func(instance string, version uint64, present map[string]broker.Present)) error {
	began, answers := time.Now(), map[string]map[string]broker.Present{}
	err := p.site.calls.gather(ctx, &client.Msg{Subject: subject, Data: []byte(topic)}, func(m *client.Msg) (bool, error) {
		var n news
		if json.Unmarshal(m.Data, &n) == nil && n.Instance != "" && n.Instance != p.site.id {
			if answers[n.Instance] == nil {
				answers[n.Instance] = map[string]broker.Present{}
			}
			for _, one := range n.Joins {
				answers[n.Instance][one.Ref] = one
			}
			if !n.More {
				each(n.Instance, n.Version, answers[n.Instance])
				delete(others, n.Instance)
			}
		}
		return len(others) == 0, nil
	})
	nobody := errors.Is(err, client.ErrNoResponders)
	if !nobody && ctx.Err() == nil {
		return err
	}
	if nobody || time.Since(began) >= asking {
		p.nodes.mute(others)
	}
	return nil // those who have answered count
}

// tell answers who is present here. Nobody is an answer, too.
func (p *people) tell(m *client.Msg) {
	version := now()
	var list []broker.Present
	if c := p.of(string(m.Data)); c != nil {
		list, version = c.here()
	}
	answer, _ := p.parts(list, nil)
	for i, n := range answer {
		n.Instance, n.Version, n.More = p.site.id, version, i < len(answer)-1
		body, err := encode(n)
		if err == nil {
			err = p.site.conn.Publish(m.Reply, body)
		}
		if err != nil {
			return // there is no connection: it is asked again
		}
	}
}

// list returns who is present on all nodes. With an error they are those on the nodes that have
// answered within a second; it names the others.
func (p *people) list(ctx context.Context, topic string) ([]broker.Present, error) {
	if err := p.site.reached(); err != nil {
		return nil, err
	}
	var all []broker.Present
	if c := p.of(topic); c != nil {
		all, _ = c.here()
	}
	silent, others := p.nodes.named(), p.nodes.awaited()
	var err error
	if len(others) > 0 {
		within, cancel := context.WithTimeout(ctx, asking)
		defer cancel()
		err = p.listFrom(within, p.site.names.list(), topic, others, func(instance string, _ uint64, present map[string]broker.Present) {
			all = slices.AppendSeq(all, maps.Values(present))
			delete(silent, instance)
		})
	}
	why := []error{err, context.Cause(ctx)}
	for instance, node := range silent {
		if p.nodes.up(instance) {
			why = append(why, fmt.Errorf("%w: node %s (%s) does not say who is present there", broker.ErrUnavailable, node.ID, node.Name))
		}
	}
	return all, errors.Join(why...)
}
