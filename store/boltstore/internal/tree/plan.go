package tree

import (
	"cmp"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/go-chime/chime/store"
)

const (
	// maxPayload keeps a record well below what bbolt takes: an error for one
	// message must not become one for all that are committed with it.
	maxPayload = 1 << 30
	maxName    = 32_000 // bytes of a topic's name, which is a key of bbolt's

	// Where nothing is farther away than this, in Unix nanoseconds, times and ages
	// can be added.
	latest   = 1 << 62
	earliest = -latest
)

// Size returns an error for what is too large to be kept.
func Size(name string, m *store.Message) error {
	if len(name) > maxName {
		return fmt.Errorf("name of %d bytes: at most %d are allowed", len(name), maxName)
	}
	if n := max(len(m.Payload), len(m.Event)); n > maxPayload {
		return fmt.Errorf("payload or event of %d bytes: at most %d are allowed", n, maxPayload)
	}
	return m.CheckOnce()
}

// Plan makes the changes of one transaction. What Append, Forget and Redact return
// is an error of that call, which has then changed nothing. One that breaks the
// transaction is returned by [Plan.End], without which nothing may be committed.
type Plan struct {
	topics *topics
	buf    []byte // for records; bbolt holds on to it until the commit
}

// Bounds are what a file may hold. Zero is without bound, in each field.
type Bounds struct {
	Topics     uint64 // that are known
	TopicBytes uint64 // that the messages of one topic take: beyond them its oldest go
	Full       bool   // nothing can be appended
}

// Begin begins a plan in tx at the time now. It takes buf for what it writes.
func Begin(tx *bolt.Tx, now int64, buf []byte) (*Plan, error) {
	s, err := readState(tx)
	if err != nil {
		return nil, err
	}
	ts := &topics{
		now: now, state: s, tx: tx, known: map[string]*topic{},
		names: tx.Bucket(topicBucket), messages: tx.Bucket(messageBucket), due: tx.Bucket(dueBucket),
	}
	ts.c = ts.messages.Cursor()
	return &Plan{ts, buf[:0]}, nil
}

// Bound sets the bounds of what follows. In the beginning there are none.
func (p *Plan) Bound(b Bounds) { p.topics.bounds = b }

// Known returns how many topics are known.
func (p *Plan) Known() uint64 { return p.topics.state.known }

// Append appends m, and returns it as it is kept; or, if its key was used before, that
// message's offset in it, and that nothing is new.
func (p *Plan) Append(name string, m store.Message, keep store.Retention) (kept store.Message, anew bool, err error) {
	ts := p.topics
	t, err := ts.find(name)
	if err == nil && t != nil && m.Key != "" {
		m.Offset, err = ts.said(t, &m)
	}
	if err != nil || m.Offset != 0 {
		return m, false, err
	}
	if m.Erases != 0 {
		if err := p.erase(name, m.Erases); err != nil {
			return m, false, err
		}
	} else if ts.bounds.Full {
		return m, false, fmt.Errorf("%w: its file has as many bytes as are allowed", store.ErrFull)
	}
	if t == nil {
		if most := ts.bounds.Topics; most > 0 && ts.state.known >= most {
			return m, false, fmt.Errorf("%w: %d topics are known, and at most %d are allowed", store.ErrFull, ts.state.known, most)
		}
		t = ts.create(name)
	}
	at := ts.now
	if !m.At.IsZero() {
		at = min(nano(m.At), ts.now)
	}
	if t.n > 0 && !t.aged(t.last, ts.now) {
		at = max(at, t.last) // a topic ages in its order
	}
	if t.Keep != keep {
		// What has aged by the old retention must not come back when the new one is longer.
		// That may be many, when the sweep has not come to them; but a retention rarely changes.
		ts.trimAged(t, ^uint64(0))
		ts.trim(t)
		t.Keep, t.redue = keep, true
	}
	ts.state.seq++
	m.Offset, m.Prev, m.At = ts.state.seq, t.Top, time.Unix(0, at)
	key, start := recordKey(t.id, m.Offset), len(p.buf)
	p.buf = appendRecord(p.buf, key, &record{prev: m.Prev, at: at, bin: m.Binary, key: m.Key, sum: m.Sum, event: m.Event, data: m.Payload})
	value := p.buf[start:len(p.buf):len(p.buf)]
	ts.put(ts.messages, key, value)
	t.redue = t.redue || t.n == 0
	t.size += recordBytes(key, value)
	t.Top, t.n, t.last, t.used = m.Offset, t.n+1, at, ts.now
	if m.Key != "" {
		ts.putOnce(t, &m)
	}
	return m, true, nil
}

// erase removes what a message erases.
func (p *Plan) erase(name string, offset uint64) error {
	if offset != store.All {
		return p.Redact(name, offset)
	}
	if t, err := p.topics.find(name); err != nil || t == nil {
		return cmp.Or(err, store.ErrNotFound)
	}
	return p.Forget(name)
}

// Forget moves the floor of the topic over all that it has.
func (p *Plan) Forget(name string) error {
	ts := p.topics
	t, err := ts.find(name)
	if err != nil || t == nil {
		return err
	}
	t.passAll()
	t.redue = true
	return nil
}

// Redact deletes one message.
func (p *Plan) Redact(name string, offset uint64) error {
	ts := p.topics
	t, err := ts.find(name)
	if err != nil {
		return err
	}
	if t == nil {
		return store.ErrNotFound
	}
	ts.trim(t)
	if offset <= agedFloor(ts.c, t.id, &t.Head, ts.now) || offset > t.Top {
		return store.ErrNotFound
	}
	key := recordKey(t.id, offset)
	value := ts.messages.Get(key)
	if value == nil {
		return store.ErrNotFound
	}
	t.size -= min(t.size, recordBytes(key, value))
	ts.c.Seek(headKey(t.id))
	if k, _ := ts.c.Prev(); string(k) == string(key) { // then the one before it is the last
		k, v := ts.c.Prev()
		if before, ok := within(t.id, k); ok && before > t.Floor {
			if rec, err := decodeRecord(k, v); err == nil {
				t.last = rec.at
			}
		}
	}
	if rec, err := decodeRecord(key, value); err != nil {
		ts.freeAll(t, offset)
	} else if rec.key != "" {
		ts.freeOnce(t, rec.key, offset)
	}
	ts.delete(ts.messages, key)
	t.n -= min(t.n, 1)
	t.redue = t.redue || t.n == 0
	return nil
}

// End writes what is known of the topics, and returns when something is due; 0 is never.
func (p *Plan) End() (due int64, err error) {
	p.topics.end()
	return Due(p.topics.tx), p.topics.err
}

// Close marks the file as closed in order.
func (p *Plan) Close() { p.topics.state.Mark = Closed }

// Buffer returns what Begin was given, larger: it can be used again after the commit.
func (p *Plan) Buffer() []byte { return p.buf }

// nano is UnixNano, where there is one.
func nano(t time.Time) int64 {
	if t.Before(time.Unix(0, earliest)) {
		return earliest
	}
	if t.After(time.Unix(0, latest)) {
		return latest
	}
	return t.UnixNano()
}
