package model

import (
	"fmt"
	"slices"
)

// exploration goes through every state, the nearest first, so that the way to
// the first in which something is wrong is a shortest one.
type exploration struct {
	m      *machine
	starts []state
	seen   map[uint64]uint32 // key to number, in the order of discovery
	from   []uint32          // the state from which each was discovered
	good   []bool            // a good end can be reached from it without further trouble
	edges  []uint32          // where each leads without trouble, state by state
	first  []int             // its first edge
	steps  int
}

// explore returns what is wrong and the way there, or "".
func explore(m *machine) (*exploration, string) {
	e := &exploration{m: m, seen: map[uint64]uint32{}}
	var now, next []state
	discover := func(s *state, from uint32) uint32 {
		key := s.key()
		n, known := e.seen[key]
		if !known {
			n = uint32(len(e.from))
			e.seen[key] = n
			e.from = append(e.from, from)
			e.good = append(e.good, m.done(s))
			next = append(next, *s)
		}
		return n
	}
	if m.bounds.webSocket {
		e.starts = append(e.starts, m.start(false))
	}
	if m.bounds.stream {
		e.starts = append(e.starts, m.start(true))
	}
	for _, s := range e.starts {
		discover(&s, 0)
	}
	var list []action
	for number := uint32(0); len(next) > 0; {
		now, next = next, now[:0]
		for i := range now {
			s := &now[i]
			e.first = append(e.first, len(e.edges))
			list = m.actions(s, list[:0])
			for _, a := range list {
				to := *s
				m.do(&to, a)
				e.steps++
				if to.wrong != "" {
					return e, to.wrong + "\n" + e.way(number) + s.tell(a)
				}
				n := discover(&to, number)
				if !a.trouble() || s.client.phase == bye { // the grace period has to run out then
					e.edges = append(e.edges, n)
				}
			}
			number++
		}
	}
	e.first = append(e.first, len(e.edges))
	if n, stuck := e.stuck(); stuck {
		return e, "nothing comes to a good end from here, even without further trouble\n" + e.way(n)
	}
	return e, ""
}

// stuck looks for a state from which no good end can be reached.
func (e *exploration) stuck() (uint32, bool) {
	for again := true; again; {
		again = false
		// A state is discovered before most of those it leads to.
		for n := len(e.good) - 1; n >= 0; n-- {
			if e.good[n] {
				continue
			}
			for _, to := range e.edges[e.first[n]:e.first[n+1]] {
				if e.good[to] {
					e.good[n], again = true, true
					break
				}
			}
		}
	}
	for n, good := range e.good {
		if !good {
			return uint32(n), true
		}
	}
	return 0, false
}

// way tells how state n comes about.
func (e *exploration) way(n uint32) string {
	path := []uint32{n}
	for int(n) >= len(e.starts) {
		n = e.from[n]
		path = append(path, n)
	}
	slices.Reverse(path)

	s := e.starts[n]
	way := fmt.Sprintln("server: says hello on connection 1, secret 1")
	for _, n := range path[1:] {
		for _, a := range e.m.actions(&s, nil) {
			to := s
			e.m.do(&to, a)
			if e.seen[to.key()] == n {
				way += fmt.Sprintln(s.tell(a))
				s = to
				break
			}
		}
	}
	return way
}
