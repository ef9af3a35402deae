package nats

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"

	client "github.com/nats-io/nats.go"

	"github.com/go-chime/chime/broker"
)

// listFrom asks nodes who is present in a topic, and calls each for every answer that is whole.
func (p *people) listFrom(ctx context.Context, subject, topic string, others map[string]bool, each func(instance string, version uint64, present map[string]broker.Present)) error {
	parts := map[string]map[string]broker.Present{}
	err := p.site.calls.gather(ctx, subject, []byte(topic), func(m *client.Msg) (bool, error) {
		var n news
		if json.Unmarshal(m.Data, &n) == nil && n.Instance != "" && n.Instance != p.site.id {
			if parts[n.Instance] == nil {
				parts[n.Instance] = map[string]broker.Present{}
			}
			for _, one := range n.Joins {
				parts[n.Instance][one.Ref] = one
			}
			if !n.More {
				each(n.Instance, n.Version, parts[n.Instance])
				delete(others, n.Instance)
			}
		}
		return len(others) == 0, nil
	})
	if ctx.Err() != nil || errors.Is(err, client.ErrNoResponders) {
		err = nil // those who have answered count
	}
	return err
}

// tell answers who is present here. Nobody is an answer, too.
func (p *people) tell(m *client.Msg) {
	n := news{Instance: p.site.id, Version: now()}
	var list []broker.Present
	if c := p.of(string(m.Data)); c != nil {
		list, n.Version = c.here()
	}
	for {
		size := 0
		n.Joins, n.More = nil, false
		for len(list) > 0 && size < perPart {
			size += sizeOfPresent(&list[0])
			n.Joins, list = append(n.Joins, list[0]), list[1:]
		}
		n.More = len(list) > 0
		body, err := json.Marshal(n)
		if err == nil {
			err = p.site.conn.Publish(m.Reply, body)
		}
		if err != nil || !n.More {
			return
		}
	}
}

// list returns who is present on all nodes. One that does not answer within a second is taken
// to have nobody.
func (p *people) list(ctx context.Context, topic string) ([]broker.Present, error) {
	if !p.site.conn.IsConnected() {
		return nil, broker.ErrUnavailable
	}
	var all []broker.Present
	if c := p.of(topic); c != nil {
		all, _ = c.here()
	}
	others := p.nodes.others()
	if len(others) == 0 {
		return all, nil
	}
	within, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	err := p.listFrom(within, p.site.names.list(), topic, others, func(_ string, _ uint64, present map[string]broker.Present) {
		all = slices.AppendSeq(all, maps.Values(present))
	})
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return all, err
}
