package tree

import (
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/go-chime/chime/store/internal/eviction"
)

// Survey finds the topics that go when a file comes to its bounds, by the rule of package
// eviction. It looks at all topics, in the order of their names, a part at a time.
type Survey struct {
	*eviction.Survey
	from []byte
	done bool
	need uint64
	went int
}

// NewSurvey begins one, to make room for so many bytes, or topics.
func NewSurvey(bytes bool, need uint64) *Survey {
	return &Survey{Survey: eviction.NewSurvey(bytes), need: need}
}

// Look looks at so many topics more.
func (s *Survey) Look(tx *bolt.Tx, now int64, most int) {
	names, heads := tx.Bucket(topicBucket).Cursor(), tx.Bucket(messageBucket).Cursor()
	k, v := names.Seek(s.from)
	for ; k != nil && most > 0; most-- {
		if id, err := decodeNumber(k, v); err == nil { // what is damaged is an error of its own calls
			if h, err := headAt(heads, id); err == nil {
				s.Add(eviction.Topic{Name: string(k[1:]), Top: h.Top, Messages: h.n, Bytes: h.size, Used: h.used}, now)
			}
		}
		k, v = names.Next()
	}
	if s.done = k == nil; !s.done {
		s.from = slices.Clone(k)
		return
	}
	s.End()
}

// Done reports whether all topics were looked at.
func (s *Survey) Done() bool { return s.done }

// Evict has so many topics go, in the transaction of p, and reports whether there is
// room now, or nothing more that may go. Those that were appended to since stay. What
// they had is deleted by sweeps, and then they are dropped.
func (s *Survey) Evict(p *Plan, most int) (done bool) {
	ts := p.topics
	for ; most > 0 && s.need > 0; most-- {
		c, ok := s.Next()
		if !ok {
			break
		}
		t, err := ts.find(c.Name)
		if err != nil || t == nil || t.Top != c.Top {
			continue
		}
		t.passAll()
		t.used, t.redue = 1-int64(remembered), true // as if nobody would ask for it
		s.need -= min(s.need, s.Weight(&c))
		s.went++
	}
	return s.need == 0 || s.Empty()
}

// Went returns how many topics went, and of which group.
func (s *Survey) Went() (topics int, group string) { return s.went, s.Greatest() }
