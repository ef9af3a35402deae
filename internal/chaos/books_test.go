package chaos

import (
	"strings"
	"sync"
)

// books are what happened in the rooms of all nodes: who has joined, how often it has left,
// and which pushes were handled.
type books struct {
	fault func(string, ...any)
	slow  func(who, topic string, why slowness) // is told of those that end as slow

	mu      sync.Mutex // guards what follows
	visits  map[string]*visit
	applied map[said]int
}

// visit is an accepted join.
type visit struct {
	name, who, topic string
	left             int
	last             int  // of the pushes handled in it
	dead             bool // its node ended without a word
}

func newBooks(fault func(string, ...any), slow func(string, string, slowness)) *books {
	return &books{fault: fault, slow: slow, visits: map[string]*visit{}, applied: map[said]int{}}
}

// note implements register.
func (b *books) note(e entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e.Fault != "" {
		b.fault("a push of %s: %s", e.Who, e.Fault)
	}
	v := b.visits[e.Visit]
	switch {
	case e.Left && v == nil:
		b.fault("%+v was left and not joined", e)
	case e.Left:
		if v.left++; v.left > 1 {
			b.fault("%+v: HandleLeave was called %d times, want 1", e, v.left)
		}
		if e.Slow != nil {
			b.slow(e.Who, e.Topic, *e.Slow)
		}
	case e.Push != nil:
		b.applied[*e.Push]++
		if v == nil || v.left > 0 || e.Push.N <= v.last {
			b.fault("%v was handled out of order in %+v: %+v", e.Push, e, v)
		} else {
			v.last = e.Push.N
		}
	default:
		b.visits[e.Visit] = &visit{name: e.Visit, who: e.Who, topic: e.Topic}
	}
}

// bury has the visits of a node end without having been left: it was killed.
func (b *books) bury(node string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, v := range b.visits {
		if strings.HasPrefix(name, node+".") && v.left == 0 {
			v.dead = true
		}
	}
}

// open are the visits that were not left.
func (b *books) open() (list []*visit) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, v := range b.visits {
		if v.left == 0 && !v.dead {
			list = append(list, v)
		}
	}
	return list
}

// wantLeft wants that each join was left.
func (b *books) wantLeft() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, v := range b.visits {
		if v.left != 1 && !v.dead {
			b.fault("%s, of %s in %s: HandleLeave was called %d times, want 1", name, v.who, v.topic, v.left)
		}
	}
}
