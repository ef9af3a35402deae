package redis

import (
	"strconv"

	"github.com/go-chime/chime/broker"
)

// audience is who is present in a topic on other nodes, as far as this one was told. It
// follows the changes, which have numbers, and is read again when one is missing.
type audience struct {
	refs   map[string]remote
	change uint64 // the last one that is in refs
	known  bool   // refs was read; else what is announced meanwhile waits
	again  bool   // what is being read is too old
	late   []news
}

// news is a change that was announced.
type news struct {
	before, change uint64
	node           string
	all            bool // all of the node have left
	broker.Change
}

// maxLate is how many changes wait. With more of them it is read once more.
const maxLate = 1000

func newAudience() audience { return audience{refs: map[string]remote{}} }

// change takes note of who has come and gone elsewhere. o.announcing is held.
func (o *order) change(fields []string, rest string) error {
	if len(fields) < 4 {
		return errForm
	}
	n := news{node: fields[3], all: fields[0] == "G"}
	var err error
	if n.before, err = strconv.ParseUint(fields[1], 10, 64); err != nil {
		return errForm
	}
	if n.change, err = strconv.ParseUint(fields[2], 10, 64); err != nil {
		return errForm
	}
	if !n.all {
		if n.Change, err = unpack(rest); err != nil {
			return err
		}
	}
	here := o.here
	if here.changed == nil {
		return nil
	}
	if n.node == o.engine.id {
		here.hear(o.topic, n)
	} else if len(n.Joins) > 0 {
		here.doubt(n.node, o.topic)
	}
	a := &o.audience
	switch {
	case !a.known:
		if a.late = append(a.late, n); len(a.late) > maxLate {
			a.late = nil // what is read will not reach so far: the next change shows it
		}
	case n.change <= a.change:
	case n.before != a.change:
		a.late = append(a.late, n)
		o.miss()
	default:
		o.tellOf(a.follow(n, o.engine.id))
	}
	return nil
}

// miss has it read again who is present. o.announcing is held.
func (o *order) miss() {
	if !o.audience.known {
		o.audience.again = true
		return
	}
	o.audience.known = false
	o.census.add(o)
}

// arrive takes what was read, and then what was announced since. o.announcing is held.
func (o *order) arrive(s *snapshot) {
	a, own := &o.audience, o.engine.id
	if a.again {
		a.again = false
		o.census.add(o)
		return
	}
	var c broker.Change
	mine := s.of(own)
	for ref, r := range s.refs {
		if r.node == own {
			delete(s.refs, ref)
			continue
		}
		o.here.doubt(r.node, o.topic)
		if _, ok := a.refs[ref]; !ok {
			c.Joins = append(c.Joins, r.Present)
		}
	}
	for ref, r := range a.refs {
		if _, ok := s.refs[ref]; !ok {
			c.Leaves = append(c.Leaves, r.Present)
		}
	}
	o.here.compare(o.topic, mine)
	late := a.late
	*a = audience{refs: s.refs, change: s.change, known: true}
	o.tellOf(c)
	for i, n := range late {
		switch {
		case n.change <= a.change:
		case n.before != a.change:
			a.late = late[i:]
			o.miss()
			return
		default:
			o.tellOf(a.follow(n, own))
		}
	}
}

// follow takes a change that is the next, and returns what it is to this node.
func (a *audience) follow(n news, own string) (c broker.Change) {
	a.change = n.change
	if n.node == own {
		return c
	}
	if n.all {
		for ref, r := range a.refs {
			if r.node == n.node {
				c.Leaves = append(c.Leaves, r.Present)
				delete(a.refs, ref)
			}
		}
		return c
	}
	for _, who := range n.Joins {
		if _, ok := a.refs[who.Ref]; !ok {
			c.Joins = append(c.Joins, who)
		}
		a.refs[who.Ref] = remote{who, n.node}
	}
	for _, who := range n.Leaves {
		if r, ok := a.refs[who.Ref]; ok {
			c.Leaves = append(c.Leaves, r.Present)
			delete(a.refs, who.Ref)
		}
	}
	return c
}

// tellOf tells this node who has come and gone elsewhere.
func (o *order) tellOf(c broker.Change) {
	if len(c.Joins)+len(c.Leaves) > 0 {
		o.here.changed(o.topic, c)
	}
}
