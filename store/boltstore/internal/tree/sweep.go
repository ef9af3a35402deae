package tree

import (
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/go-chime/chime/store/boltstore/internal/disk"
)

const (
	// sweepEvery is how soon a topic is swept again: message by message, each
	// would cost a page.
	sweepEvery = time.Minute
)

// Due returns when something is due, in Unix nanoseconds; 0 is never.
func Due(tx *bolt.Tx) int64 {
	k, _ := tx.Bucket(dueBucket).Cursor().First()
	if k == nil {
		return 0
	}
	at, _, err := pair(k)
	if err != nil {
		return 1 // Sweep removes it
	}
	return max(int64(at), 1)
}

// Sweeper deletes what retention does not cover, in the transaction of a [Plan].
type Sweeper struct {
	topics   *topics
	warnings []error
}

// NewSweeper returns one for the transaction of p.
func NewSweeper(p *Plan) *Sweeper { return &Sweeper{topics: p.topics} }

// Warnings returns what Sweep could not make sense of: it is no error of a call.
func (s *Sweeper) Warnings() []error { return s.warnings }

// Sweep looks at topics of which something is due: it deletes what has aged or was
// forgotten, and drops those that nobody will ask for. It ends when nothing is due,
// or it has deleted so many messages or looked at so many topics: each of those may
// be on pages of its own. Then more is due at once.
func (s *Sweeper) Sweep(messages, topics int) {
	for ; messages > 0 && topics > 0; topics-- {
		k, v := s.topics.due.Cursor().First()
		if k == nil {
			return
		}
		at, id, err := pair(k)
		if err == nil && int64(at) > s.topics.now {
			return
		}
		var t *topic
		if err == nil {
			t, err = s.dueTopic(k, v)
		}
		if err != nil {
			s.warnings = append(s.warnings, fmt.Errorf("%w: what is due: %w", disk.ErrDamaged, err))
		}
		if t == nil || t.id != id || t.due != int64(at) {
			s.topics.delete(s.topics.due, k) // it leads to nothing
			continue
		}
		all := s.topics.trimAged(t, uint64(messages))
		s.topics.trim(t)
		n, cleared := s.topics.clear(t, messages)
		if messages -= n; !all || !cleared {
			return
		}
		s.rest(t)
	}
}

// dueTopic returns the topic that an entry leads to, or nil.
func (s *Sweeper) dueTopic(key, value []byte) (*topic, error) {
	r, err := unseal(key, value)
	if err != nil {
		return nil, err
	}
	name := string(r.bytes())
	if err := r.end(); err != nil {
		return nil, err
	}
	return s.topics.find(name)
}

// rest says what is next of a topic that was swept.
func (s *Sweeper) rest(t *topic) {
	switch at := s.topics.next(t); {
	case at == 0:
		s.topics.setDue(t, 0)
	case t.n > 0 || at > s.topics.now:
		s.topics.setDue(t, max(at, s.topics.now+int64(sweepEvery)))
	default:
		s.topics.drop(t)
	}
}
