// Package eviction is the rule by which topics go when a store has no room for all. It
// knows no store.
//
// The topics whose names are the same up to the first colon are a group, and those
// without a colon are one. Of the group that has the most, in topics or in bytes, those
// go first that have the fewest messages, of these the ones that were not appended to for
// the longest. So a group that has less than an equal share loses nothing to another
// one, and in a group whoever names many topics loses these before any with more messages.
package eviction

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

const (
	// Settled is for how long a topic has not been appended to when it may go.
	Settled = time.Minute

	// Share is of the bytes: one topic has at most one part in so many.
	Share = 16

	slack = 16 // room is made when one part in so many is left
	batch = 64 // then for one part in so many more, since to look at all topics takes a while

	mostFirst = 32_768 // topics that a survey remembers, for each of three groups
)

// Need returns for how much room has to be made where so much of the most is used; 0 is
// none. A most of 0 or less is no bound.
func Need(used, most int64) uint64 {
	low := most - max(most/slack, 1)
	if most <= 0 || used <= low {
		return 0
	}
	return uint64(used - low + most/batch)
}

// Topic is what the rule looks at.
type Topic struct {
	Name     string
	Top      uint64 // offset of its last message
	Messages uint64
	Bytes    uint64
	Used     int64 // when it was appended to, Unix nanoseconds
}

// Group returns the group of a name; "" is that of the names without a colon.
func Group(name string) string {
	prefix, _, ok := strings.Cut(name, ":")
	if !ok {
		return ""
	}
	return prefix + ":"
}

// Survey finds the topics that go first. It holds on to a bounded number of them.
type Survey struct {
	bytes    bool // by these, else by topics
	plain    group
	now      group // the one that it is at
	greatest group
}

// group is the topics of one, and which of them go first.
type group struct {
	name  string
	total uint64
	first []Topic
}

// NewSurvey begins one, by the bytes or by the number of topics.
func NewSurvey(bytes bool) *Survey { return &Survey{bytes: bytes} }

// Add looks at a topic at the time now. The topics of a group come one after another, but
// for those without a colon.
func (s *Survey) Add(t Topic, now int64) {
	g := &s.plain
	if name := Group(t.Name); name != "" {
		if name != s.now.name {
			s.next(name)
		}
		g = &s.now
	}
	weight := s.Weight(&t)
	g.total += weight
	if weight > 0 && t.Used <= now-int64(Settled) {
		g.first = append(g.first, t)
	}
	if len(g.first) == 2*mostFirst {
		g.sort()
		g.first = g.first[:mostFirst]
	}
}

// Weight is what there is room for when a topic goes.
func (s *Survey) Weight(t *Topic) uint64 {
	if s.bytes {
		return t.Bytes
	}
	return 1
}

// next begins the next group: the one before is complete.
func (s *Survey) next(name string) {
	s.greatest = greater(s.greatest, s.now)
	s.now = group{name: name}
}

// End is called when all topics were added.
func (s *Survey) End() {
	s.next("")
	s.greatest = greater(s.greatest, s.plain)
	s.greatest.sort()
}

// Next returns the topic that goes next, if any may.
func (s *Survey) Next() (t Topic, ok bool) {
	if len(s.greatest.first) == 0 {
		return t, false
	}
	t = s.greatest.first[0]
	s.greatest.first = s.greatest.first[1:]
	return t, true
}

// Empty reports whether Next has nothing more.
func (s *Survey) Empty() bool { return len(s.greatest.first) == 0 }

// Greatest returns the name of the group of which topics go.
func (s *Survey) Greatest() string { return strings.TrimSuffix(s.greatest.name, ":") }

func greater(g, other group) group {
	if other.total > g.total {
		return other
	}
	return g
}

func (g *group) sort() {
	slices.SortFunc(g.first, func(a, b Topic) int {
		return cmp.Or(cmp.Compare(a.Messages, b.Messages), cmp.Compare(a.Used, b.Used))
	})
}
