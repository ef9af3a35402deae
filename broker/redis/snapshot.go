package redis

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-chime/chime/broker"
)

// ListPresence implements broker.Presence.
func (b *Broker) ListPresence(ctx context.Context, topic string) ([]broker.Present, error) {
	s, err := b.presentIn(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("present in %q: %w", topic, err)
	}
	up, err := b.nodes.up(ctx)
	if err != nil {
		return nil, fmt.Errorf("present in %q: %w", topic, err)
	}
	var list []broker.Present
	for _, r := range s.refs {
		if slices.ContainsFunc(up, func(s state) bool { return s.id == r.node }) {
			list = append(list, r.Present)
		}
	}
	return list, nil
}

// snapshot is who is present in a topic, after a change.
type snapshot struct {
	change uint64
	refs   map[string]remote
}

// remote is who is present on a node.
type remote struct {
	broker.Present
	node string
}

// of returns the refs of those who are present on one node.
func (s *snapshot) of(node string) map[string]bool {
	refs := map[string]bool{}
	for ref, r := range s.refs {
		if r.node == node {
			refs[ref] = true
		}
	}
	return refs
}

// presentIn returns who is present in a topic.
func (e *engine) presentIn(ctx context.Context, topic string) (*snapshot, error) {
	var all map[string]string
	err := e.look(ctx, func(ctx context.Context) (err error) {
		all, err = e.client.Do(ctx, e.client.B().Hgetall().Key(e.names.present(topic)).Build()).AsStrMap()
		return err
	})
	if err != nil {
		return nil, err
	}
	s := &snapshot{refs: map[string]remote{}}
	for ref, text := range all {
		if ref == "" {
			s.change, err = strconv.ParseUint(text, 10, 64)
		} else {
			node, packed, _ := strings.Cut(text, "\n")
			var c broker.Change
			if c, err = unpack(packed); err == nil && len(c.Joins) == 1 {
				s.refs[ref] = remote{c.Joins[0], node}
			}
		}
		if err != nil {
			return nil, errForm
		}
	}
	return s, nil
}
