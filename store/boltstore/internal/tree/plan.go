package tree

import (
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

	// How full a page is left where one becomes two. A topic of several pages grows at
	// its end, so the first one stays as it is; where several topics share a page,
	// whichever is appended to next would have a full one become two again.
	fillLarge = 0.95
	fillSmall = 0.6
	large     = 64 // messages

	// What is trimmed waits until deleting it is worth the pages that this writes:
	// a part of what the topic keeps, within these bounds.
	deadLeast = 8
	deadMost  = 128
	deleteMax = 1_024 // that one append deletes at most

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
	return nil
}

// Plan makes the changes of one transaction. What Append, Forget and Redact return
// is an error of that call, which has then changed nothing. One that breaks the
// transaction is returned by [Plan.End], without which nothing may be committed.
type Plan struct {
	now      int64
	state    State
	names    *bolt.Bucket
	messages *bolt.Bucket
	due      *bolt.Bucket
	c        *bolt.Cursor // of messages
	topics   map[string]*topic
	buf      []byte // for records; bbolt holds on to it until the commit
	warnings []error
	err      error
	tx       *bolt.Tx
}

// topic is what the transaction knows of one.
type topic struct {
	Head
	id    uint64
	name  string
	redue bool // what is due may have changed
}

// Begin begins a plan in tx at the time now. It takes buf for what it writes.
func Begin(tx *bolt.Tx, now int64, buf []byte) (*Plan, error) {
	s, err := readState(tx)
	if err != nil {
		return nil, err
	}
	p := &Plan{
		now: now, state: s, tx: tx, buf: buf[:0], topics: map[string]*topic{},
		names: tx.Bucket(topicBucket), messages: tx.Bucket(messageBucket), due: tx.Bucket(dueBucket),
	}
	p.c = p.messages.Cursor()
	return p, nil
}

// Append appends m, and returns it as it is kept.
func (p *Plan) Append(name string, m store.Message, keep store.Retention) (store.Message, error) {
	t, err := p.find(name)
	if err != nil {
		return m, err
	}
	if t == nil {
		t = p.create(name)
	}
	at := p.now
	if !m.At.IsZero() {
		at = min(nano(m.At), p.now)
	}
	if t.n > 0 && !t.aged(t.last, p.now) {
		at = max(at, t.last) // a topic ages in its order
	}
	if t.Keep != keep {
		// What has aged by the old retention must not come back when the new one is longer.
		// That may be many, when the sweep has not come to them; but a retention rarely changes.
		p.trimAged(t, ^uint64(0))
		p.trim(t)
		t.Keep, t.redue = keep, true
	}
	p.state.seq++
	m.Offset, m.Prev, m.At = p.state.seq, t.Top, time.Unix(0, at)
	key, start := recordKey(t.id, m.Offset), len(p.buf)
	p.buf = appendRecord(p.buf, key, &record{prev: m.Prev, at: at, bin: m.Binary, event: m.Event, data: m.Payload})
	p.put(p.messages, key, p.buf[start:len(p.buf):len(p.buf)])
	t.redue = t.redue || t.n == 0
	t.Top, t.n, t.last, t.used = m.Offset, t.n+1, at, p.now
	return m, nil
}

// Forget moves the floor of the topic over all that it has.
func (p *Plan) Forget(name string) error {
	t, err := p.find(name)
	if err != nil || t == nil {
		return err
	}
	t.Floor, t.dead, t.n, t.redue = t.Top, t.dead+t.n, 0, true
	return nil
}

// Redact deletes one message.
func (p *Plan) Redact(name string, offset uint64) error {
	t, err := p.find(name)
	if err != nil {
		return err
	}
	if t == nil {
		return store.ErrNotFound
	}
	p.trim(t)
	if offset <= agedFloor(p.c, t.id, &t.Head, p.now) || offset > t.Top {
		return store.ErrNotFound
	}
	key := recordKey(t.id, offset)
	if p.messages.Get(key) == nil {
		return store.ErrNotFound
	}
	p.c.Seek(headKey(t.id))
	if k, _ := p.c.Prev(); string(k) == string(key) { // then the one before it is the last
		k, v := p.c.Prev()
		if before, ok := within(t.id, k); ok && before > t.Floor {
			if rec, err := decodeRecord(k, v); err == nil {
				t.last = rec.at
			}
		}
	}
	p.delete(p.messages, key)
	t.n -= min(t.n, 1)
	t.redue = t.redue || t.n == 0
	return nil
}

// End writes what is known of the topics, and returns when something is due; 0 is never.
func (p *Plan) End() (due int64, err error) {
	larger := 0
	for _, t := range p.topics {
		p.trim(t)
		if t.n > large {
			larger++
		}
		if t.dead >= t.worthwhile() {
			p.clear(t, deleteMax)
		}
		if t.redue || t.dead >= t.worthwhile() {
			p.setDue(t, p.next(t))
		}
		p.putHead(t)
	}
	p.messages.FillPercent = fillSmall
	if larger > len(p.topics)/2 {
		p.messages.FillPercent = fillLarge
	}
	if p.err == nil {
		p.err = p.state.Put(p.tx)
	}
	return Due(p.tx), p.err
}

// Close marks the file as closed in order.
func (p *Plan) Close() { p.state.Mark = Closed }

// Buffer returns what Begin was given, larger: it can be used again after the commit.
func (p *Plan) Buffer() []byte { return p.buf }

// Warnings returns what was found on the way that is no error of a call.
func (p *Plan) Warnings() []error { return p.warnings }

// find returns the topic, or nil.
func (p *Plan) find(name string) (*topic, error) {
	if t := p.topics[name]; t != nil {
		return t, nil
	}
	id, err := find(p.tx, name)
	if err != nil || id == 0 {
		return nil, err
	}
	h, err := headAt(p.c, id)
	if err != nil {
		return nil, badTopic(name, err)
	}
	t := &topic{Head: h, id: id, name: name}
	p.topics[name] = t
	return t, nil
}

func (p *Plan) create(name string) *topic {
	p.state.topics++
	t := &topic{id: p.state.topics, name: name, Head: Head{Floor: p.state.horizon, used: p.now}}
	p.topics[name] = t
	key := nameKey(name)
	p.put(p.names, key, encodeNumber(key, t.id))
	p.putHead(t)
	return t
}

func (p *Plan) putHead(t *topic) {
	key := headKey(t.id)
	p.put(p.messages, key, encodeHead(key, &t.Head))
}

// worthwhile is how many messages have to wait for it to be deleted.
func (t *topic) worthwhile() uint64 {
	if t.Keep.Keep <= 0 {
		return deadMost
	}
	return uint64(min(max(t.Keep.Keep/4, deadLeast), deadMost))
}

// trim moves the floor over what is more than the topic keeps.
func (p *Plan) trim(t *topic) {
	if t.Keep.Keep <= 0 || t.n <= uint64(t.Keep.Keep) {
		return
	}
	k, _ := p.c.Seek(recordKey(t.id, t.Floor+1))
	for over := t.n - uint64(t.Keep.Keep); over > 0; over-- {
		offset, ok := within(t.id, k)
		if !ok {
			t.n = 0 // fewer are there than were counted
			return
		}
		t.pass(offset, 1)
		k, _ = p.c.Next()
	}
}

// pass moves the floor over n messages up to an offset.
func (t *topic) pass(offset, n uint64) {
	n = min(n, t.n)
	t.Floor, t.n, t.dead = offset, t.n-n, t.dead+n
}

// trimAged moves the floor over messages that have aged, over so many at most, and
// reports whether that was all.
func (p *Plan) trimAged(t *topic, most uint64) bool {
	floor := agedFloor(p.c, t.id, &t.Head, p.now)
	if floor == t.Floor {
		return true
	}
	for k, _ := p.c.Seek(recordKey(t.id, t.Floor+1)); ; k, _ = p.c.Next() {
		offset, ok := within(t.id, k)
		if !ok || offset > floor {
			return true
		}
		if most == 0 {
			return false
		}
		most--
		t.pass(offset, 1)
	}
}

// clear deletes what is not beyond the floor, so many at most. It returns how many
// it has deleted and whether that was all.
func (p *Plan) clear(t *topic, most int) (n int, all bool) {
	var keys [][]byte
	k, _ := p.c.Seek(recordKey(t.id, 0))
	for {
		offset, ok := within(t.id, k)
		if all = !ok || offset > t.Floor; all || len(keys) == most {
			break
		}
		keys = append(keys, recordKey(t.id, offset))
		k, _ = p.c.Next()
	}
	for _, key := range keys {
		p.delete(p.messages, key)
	}
	if t.dead -= min(t.dead, uint64(len(keys))); all {
		t.dead = 0
	}
	return len(keys), all
}

func (p *Plan) put(b *bolt.Bucket, key, value []byte) {
	if err := b.Put(key, value); err != nil && p.err == nil {
		p.err = err
	}
}

func (p *Plan) delete(b *bolt.Bucket, key []byte) {
	if err := b.Delete(key); err != nil && p.err == nil {
		p.err = err
	}
}

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
