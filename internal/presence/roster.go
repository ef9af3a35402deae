// Package presence is who is present in a topic. A [Window] collects what changes on
// this node and announces it a few times a second; a [Roster] is what has been
// announced, by this node and others, as clients are shown it: as a state and then as
// diffs, in the shapes of Phoenix.
//
// The package knows no socket, no member, no network and no other topic.
package presence

import (
	"slices"
	"strings"
	"sync"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/wire"
)

// The events that clients are sent.
const (
	EventState = "presence_state"
	EventDiff  = "presence_diff"
)

// Roster is who is present in a topic, as far as it was announced. Its methods are safe
// for concurrent use, and wait for nothing.
type Roster struct {
	topic string

	mu    sync.Mutex // guards what follows, of each person too
	keys  map[string]*person
	list  []*person     // in no order; each knows its place
	bytes int           // about what the state takes
	state *wire.Message // nil: it has changed since it was made
}

// person is a key under which somebody is present.
type person struct {
	key   string
	index int
	metas []broker.Present // in the order in which they came
}

// NewRoster returns a roster of nobody.
func NewRoster(topic string) *Roster { return &Roster{topic: topic, keys: map[string]*person{}} }

// Apply makes a change, and returns the diff that tells it, or nil if there is nothing
// to tell: a join that is known and a leave that is not are skipped, so a change may come
// twice.
func (r *Roster) Apply(c broker.Change) *wire.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	var effect broker.Change
	for _, p := range c.Joins {
		if r.add(p) {
			effect.Joins = append(effect.Joins, p)
		}
	}
	for _, p := range c.Leaves {
		if was, ok := r.remove(p); ok {
			effect.Leaves = append(effect.Leaves, was)
		}
	}
	if len(effect.Joins)+len(effect.Leaves) == 0 {
		return nil
	}
	r.state = nil
	return wire.NewPush(r.topic, EventDiff, diffOf(effect), 0)
}

func (r *Roster) add(p broker.Present) bool {
	who := r.keys[p.Key]
	if who == nil {
		who = &person{key: p.Key, index: len(r.list)}
		r.keys[p.Key], r.list = who, append(r.list, who)
	} else if who.find(p.Ref) >= 0 {
		return false
	}
	who.metas = append(who.metas, p)
	r.bytes += sizeOf(p)
	return true
}

func (r *Roster) remove(p broker.Present) (was broker.Present, ok bool) {
	who := r.keys[p.Key]
	if who == nil {
		return was, false
	}
	i := who.find(p.Ref)
	if i < 0 {
		return was, false
	}
	was = who.metas[i]
	who.metas = slices.Delete(who.metas, i, i+1)
	r.bytes -= sizeOf(was)
	if len(who.metas) == 0 {
		last := len(r.list) - 1
		r.list[who.index] = r.list[last]
		r.list[who.index].index = who.index
		r.list[last] = nil
		r.list = r.list[:last]
		delete(r.keys, who.key)
	}
	return was, true
}

func (who *person) find(ref string) int {
	return slices.IndexFunc(who.metas, func(p broker.Present) bool { return p.Ref == ref })
}

// State is all who are present, for a client that has seen nothing yet. It is made once
// for all who ask between two changes.
func (r *Roster) State() *wire.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state == nil {
		b := make([]byte, 0, r.bytes+2)
		b = append(b, '{')
		for i, who := range r.list {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendKey(b, who.key, who.metas)
		}
		r.state = wire.NewPush(r.topic, EventState, append(b, '}'), 0)
	}
	return r.state
}

// after returns who is present when more changes are made, ordered by key and then as
// they came. The roster stays as it is.
func (r *Roster) after(changes ...broker.Change) []broker.Present {
	leaving := map[string]bool{}
	r.mu.Lock()
	all := make([]broker.Present, 0, len(r.list))
	for _, who := range r.list {
		all = append(all, who.metas...)
	}
	for _, c := range changes {
		for _, p := range c.Joins {
			if who := r.keys[p.Key]; who == nil || who.find(p.Ref) < 0 {
				all = append(all, p)
			}
		}
		for _, p := range c.Leaves {
			leaving[p.Ref] = true
		}
	}
	r.mu.Unlock()
	if len(leaving) > 0 {
		all = slices.DeleteFunc(all, func(p broker.Present) bool { return leaving[p.Ref] })
	}
	Sort(all)
	return all
}

// Sort orders a list by key. Of one key the order stays.
func Sort(list []broker.Present) {
	slices.SortStableFunc(list, func(a, b broker.Present) int { return strings.Compare(a.Key, b.Key) })
}
