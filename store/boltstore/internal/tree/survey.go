package tree

import (
	"cmp"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
)

const (
	// Settled is for how long a topic has not been appended to when it may go.
	Settled = time.Minute

	mostFirst = 32_768 // topics that a survey remembers, for each of three groups
)

// Survey finds the topics that go when a file comes to its bounds. The topics whose
// names are the same up to the first colon are a group, and those without a colon are
// one. Of the group that has the most, in topics or in bytes, those go first that have
// the fewest messages, of these the ones that were not appended to for the longest. So
// a group that has less than an equal share loses nothing to another one, and in a
// group whoever names many topics loses these before any with more messages.
//
// It looks at all topics, a part at a time, and holds on to a bounded number of them.
type Survey struct {
	bytes    bool // by these, else by topics
	from     []byte
	done     bool
	plain    group // the names without a colon
	now      group // the one that it is at
	greatest group
	need     uint64
	went     int
}

// group is the topics of one, and which of them go first.
type group struct {
	name  string
	total uint64
	first []candidate
}

type candidate struct {
	name string
	top  uint64
	n    uint64
	size uint64
	used int64
}

// NewSurvey begins one, to make room for so many bytes, or topics.
func NewSurvey(bytes bool, need uint64) *Survey { return &Survey{bytes: bytes, need: need} }

// Look looks at so many topics more.
func (s *Survey) Look(tx *bolt.Tx, now int64, most int) {
	names, heads := tx.Bucket(topicBucket).Cursor(), tx.Bucket(messageBucket).Cursor()
	k, v := names.Seek(s.from)
	for ; k != nil && most > 0; most-- {
		if id, err := decodeNumber(k, v); err == nil { // what is damaged is an error of its own calls
			if h, err := headAt(heads, id); err == nil {
				s.add(string(k[1:]), &h, now)
			}
		}
		k, v = names.Next()
	}
	if s.done = k == nil; !s.done {
		s.from = slices.Clone(k)
		return
	}
	s.next("")
	s.greatest = greater(s.greatest, s.plain)
	s.greatest.sort()
}

// Done reports whether all topics were looked at.
func (s *Survey) Done() bool { return s.done }

func (s *Survey) add(name string, h *Head, now int64) {
	g := &s.plain
	if prefix, _, ok := strings.Cut(name, ":"); ok {
		if prefix != s.now.name {
			s.next(prefix)
		}
		g = &s.now
	}
	c := candidate{name, h.Top, h.n, h.size, h.used}
	weight := s.weight(&c)
	g.total += weight
	if weight > 0 && h.used <= now-int64(Settled) {
		g.first = append(g.first, c)
	}
	if len(g.first) == 2*mostFirst {
		g.sort()
		g.first = g.first[:mostFirst]
	}
}

// weight is what there is room for when a topic goes.
func (s *Survey) weight(c *candidate) uint64 {
	if s.bytes {
		return c.size
	}
	return 1
}

// next begins the next group. Names come in their order, so the one before is complete.
func (s *Survey) next(name string) {
	s.greatest = greater(s.greatest, s.now)
	s.now = group{name: name}
}

func greater(g, other group) group {
	if other.total > g.total {
		return other
	}
	return g
}

func (g *group) sort() {
	slices.SortFunc(g.first, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.n, b.n), cmp.Compare(a.used, b.used))
	})
}

// Evict has so many topics go, in the transaction of p, and reports whether there is
// room now, or nothing more that may go. Those that were appended to since stay. What
// they had is deleted by sweeps, and then they are dropped.
func (s *Survey) Evict(p *Plan, most int) (done bool) {
	ts := p.topics
	for ; most > 0 && s.need > 0 && len(s.greatest.first) > 0; most-- {
		c := s.greatest.first[0]
		s.greatest.first = s.greatest.first[1:]
		t, err := ts.find(c.name)
		if err != nil || t == nil || t.Top != c.top {
			continue
		}
		t.passAll()
		t.used, t.redue = 1-int64(remembered), true // as if nobody would ask for it
		s.need -= min(s.need, s.weight(&c))
		s.went++
	}
	return s.need == 0 || len(s.greatest.first) == 0
}

// Went returns how many topics went, and of which group.
func (s *Survey) Went() (topics int, group string) { return s.went, s.greatest.name }
