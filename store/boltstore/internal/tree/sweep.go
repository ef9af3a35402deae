package tree

import (
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/go-chime/chime/store/boltstore/internal/disk"
)

const (
	// remembered is how long a topic without messages is known: clients come back
	// after a holiday, and learn then whether they missed anything.
	remembered = 30 * 24 * time.Hour

	// sweepEvery is how soon a topic is swept again: message by message, each
	// would cost a page.
	sweepEvery = time.Minute

	topicCost = 4 // messages that looking at a topic counts for
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

// next is when the topic has to be looked at again; 0 is never.
func (p *Plan) next(t *topic) int64 {
	switch {
	case t.dead >= t.worthwhile(), t.dead > 0 && t.n == 0:
		return p.now
	case t.n == 0:
		return t.used + int64(remembered)
	case t.Keep.Age <= 0:
		return 0
	}
	_, at, ok := firstReadable(p.c, t.id, t.Floor+1)
	if !ok {
		at = t.last
	}
	return t.expires(at)
}

func (p *Plan) setDue(t *topic, at int64) {
	if t.redue = false; t.due == at {
		return
	}
	if t.due != 0 {
		p.delete(p.due, dueKey(t.due, t.id))
	}
	if t.due = at; at != 0 {
		key := dueKey(at, t.id)
		b := appendBytes(begin(nil), t.name)
		seal(key, b)
		p.put(p.due, key, b)
	}
}

// Sweep looks at topics of which something is due: it deletes what has aged or was
// forgotten, and drops those that nobody will ask for. It ends when nothing is due
// or it has deleted so many messages; then more is due at once.
func (p *Plan) Sweep(most int) {
	for most > 0 {
		k, v := p.due.Cursor().First()
		if k == nil {
			return
		}
		at, id, err := pair(k)
		if err == nil && int64(at) > p.now {
			return
		}
		var t *topic
		if err == nil {
			t, err = p.dueTopic(k, v)
		}
		if err != nil {
			p.warnings = append(p.warnings, fmt.Errorf("%w: what is due: %w", disk.ErrDamaged, err))
		}
		if t == nil || t.id != id || t.due != int64(at) {
			p.delete(p.due, k) // it leads to nothing
			continue
		}
		most -= topicCost
		all := p.trimAged(t, uint64(max(most, 1)))
		p.trim(t)
		n, cleared := p.clear(t, max(most, 1))
		if most -= n; !all || !cleared {
			return
		}
		p.rest(t)
	}
}

// dueTopic returns the topic that an entry leads to, or nil.
func (p *Plan) dueTopic(key, value []byte) (*topic, error) {
	r, err := unseal(key, value)
	if err != nil {
		return nil, err
	}
	name := string(r.bytes())
	if err := r.end(); err != nil {
		return nil, err
	}
	return p.find(name)
}

// rest says what is next of a topic that was swept.
func (p *Plan) rest(t *topic) {
	switch at := p.next(t); {
	case at == 0:
		p.setDue(t, 0)
	case t.n > 0 || at > p.now:
		p.setDue(t, max(at, p.now+int64(sweepEvery)))
	default:
		p.drop(t)
	}
}

// drop ends a topic. One of that name would not know what it once had: from here
// on, none that begins vouches for a time in which any that was dropped had messages.
func (p *Plan) drop(t *topic) {
	p.state.horizon = max(p.state.horizon, t.Top)
	p.setDue(t, 0)
	p.delete(p.names, nameKey(t.name))
	p.delete(p.messages, headKey(t.id))
	delete(p.topics, t.name)
}
