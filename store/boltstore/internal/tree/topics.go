package tree

import (
	"time"

	bolt "go.etcd.io/bbolt"
)

const (
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
	deadBytes = 1 << 20
	deleteMax = 1_024 // that one append deletes at most

	// remembered is how long a topic without messages is known: clients come back
	// after a holiday, and learn then whether they missed anything.
	remembered = 30 * 24 * time.Hour
)

// topics is what one transaction knows of topics, and writes of them. A [Plan] and a
// [Sweeper] of one transaction share it.
type topics struct {
	tx       *bolt.Tx
	now      int64
	bounds   Bounds
	state    State
	names    *bolt.Bucket
	messages *bolt.Bucket
	due      *bolt.Bucket
	c        *bolt.Cursor // of messages
	known    map[string]*topic
	err      error // what broke the transaction
}

// topic is what the transaction knows of one.
type topic struct {
	Head
	id    uint64
	name  string
	redue bool // what is due may have changed
}

// find returns the topic, or nil.
func (ts *topics) find(name string) (*topic, error) {
	if t := ts.known[name]; t != nil {
		return t, nil
	}
	id, err := find(ts.tx, name)
	if err != nil || id == 0 {
		return nil, err
	}
	h, err := headAt(ts.c, id)
	if err != nil {
		return nil, badTopic(name, err)
	}
	t := &topic{Head: h, id: id, name: name}
	ts.known[name] = t
	return t, nil
}

func (ts *topics) create(name string) *topic {
	ts.state.topics++
	ts.state.known++
	t := &topic{id: ts.state.topics, name: name, Head: Head{Floor: ts.state.horizon, since: ts.state.horizon, used: ts.now}}
	ts.known[name] = t
	key := nameKey(name)
	ts.put(ts.names, key, encodeNumber(key, t.id))
	ts.putHead(t)
	return t
}

func (ts *topics) putHead(t *topic) {
	key := headKey(t.id)
	ts.put(ts.messages, key, encodeHead(key, &t.Head))
}

// next is when the topic has to be looked at again; 0 is never.
func (ts *topics) next(t *topic) int64 {
	switch {
	case t.worthwhile(), t.dead > 0 && t.n == 0:
		return ts.now
	case t.n == 0:
		return t.used + int64(remembered)
	case t.Keep.Age <= 0:
		return 0
	}
	_, at, ok := firstReadable(ts.c, t.id, t.Floor+1)
	if !ok {
		at = t.last
	}
	return t.expires(at)
}

func (ts *topics) setDue(t *topic, at int64) {
	if t.redue = false; t.due == at {
		return
	}
	if t.due != 0 {
		ts.delete(ts.due, dueKey(t.due, t.id))
	}
	if t.due = at; at != 0 {
		key := dueKey(at, t.id)
		b := appendBytes(begin(nil), t.name)
		seal(key, b)
		ts.put(ts.due, key, b)
	}
}

// drop ends a topic. One of that name would not know what it once had: from here
// on, none that begins vouches for a time in which any that was dropped had messages.
func (ts *topics) drop(t *topic) {
	ts.state.horizon = max(ts.state.horizon, t.Top)
	ts.state.known -= min(ts.state.known, 1)
	ts.setDue(t, 0)
	ts.delete(ts.names, nameKey(t.name))
	ts.delete(ts.messages, headKey(t.id))
	ts.freeAll(t, 0) // of messages that were damaged
	delete(ts.known, t.name)
}

// worthwhile reports whether enough messages wait to be deleted.
func (t *topic) worthwhile() bool {
	least := uint64(deadMost)
	if t.Keep.Keep > 0 {
		least = uint64(min(max(t.Keep.Keep/4, deadLeast), deadMost))
	}
	return t.dead >= least || t.n > 0 && t.dead*(t.size/t.n) >= deadBytes
}

// over reports whether the topic has more than it keeps, or than its share.
func (ts *topics) over(t *topic) bool {
	return t.Keep.Keep > 0 && t.n > uint64(t.Keep.Keep) || ts.bounds.TopicBytes > 0 && t.size > ts.bounds.TopicBytes && t.n > 1
}

// trim moves the floor over what is more than the topic keeps.
func (ts *topics) trim(t *topic) {
	if !ts.over(t) {
		return
	}
	k, v := ts.c.Seek(recordKey(t.id, t.Floor+1))
	for ts.over(t) {
		offset, ok := within(t.id, k)
		if !ok {
			t.n, t.size = 0, 0 // fewer are there than were counted
			return
		}
		t.pass(offset, k, v)
		k, v = ts.c.Next()
	}
}

// pass moves the floor over a message.
func (t *topic) pass(offset uint64, key, value []byte) {
	n := min(t.n, 1)
	t.Floor, t.n, t.dead = offset, t.n-n, t.dead+n
	t.size -= min(t.size, recordBytes(key, value))
}

// passAll moves it over all messages.
func (t *topic) passAll() { t.Floor, t.n, t.size, t.dead = t.Top, 0, 0, t.dead+t.n }

// recordBytes is what a message takes on its page.
func recordBytes(key, value []byte) uint64 {
	const element = 16 // of bbolt's
	return uint64(element + len(key) + len(value))
}

// trimAged moves the floor over messages that have aged, over so many at most, and
// reports whether that was all.
func (ts *topics) trimAged(t *topic, most uint64) bool {
	floor := agedFloor(ts.c, t.id, &t.Head, ts.now)
	if floor == t.Floor {
		return true
	}
	for k, v := ts.c.Seek(recordKey(t.id, t.Floor+1)); ; k, v = ts.c.Next() {
		offset, ok := within(t.id, k)
		if !ok || offset > floor {
			return true
		}
		if most == 0 {
			return false
		}
		most--
		t.pass(offset, k, v)
	}
}

// clear deletes what is not beyond the floor, so many at most. It returns how many
// it has deleted and whether that was all.
func (ts *topics) clear(t *topic, most int) (n int, all bool) {
	var keys [][]byte
	once := map[uint64]string{}
	k, v := ts.c.Seek(recordKey(t.id, 0))
	for {
		offset, ok := within(t.id, k)
		if all = !ok || offset > t.Floor; all || len(keys) == most {
			break
		}
		keys = append(keys, recordKey(t.id, offset))
		if keyed(v) {
			if rec, err := decodeRecord(k, v); err == nil {
				once[offset] = rec.key
			}
		}
		k, v = ts.c.Next()
	}
	for _, key := range keys {
		ts.delete(ts.messages, key)
	}
	for offset, key := range once {
		ts.freeOnce(t, key, offset)
	}
	if t.dead -= min(t.dead, uint64(len(keys))); all {
		t.dead = 0
	}
	return len(keys), all
}

// end writes the heads of the topics that are known, and what the file says of itself.
func (ts *topics) end() {
	larger := 0
	for _, t := range ts.known {
		ts.trim(t)
		if t.n > large {
			larger++
		}
		if t.worthwhile() {
			ts.clear(t, deleteMax)
		}
		if t.redue || t.worthwhile() {
			ts.setDue(t, ts.next(t))
		}
		ts.putHead(t)
	}
	ts.messages.FillPercent = fillSmall
	if larger > len(ts.known)/2 {
		ts.messages.FillPercent = fillLarge
	}
	if ts.err == nil {
		ts.err = ts.state.Put(ts.tx)
	}
}

func (ts *topics) put(b *bolt.Bucket, key, value []byte) {
	if err := b.Put(key, value); err != nil && ts.err == nil {
		ts.err = err
	}
}

func (ts *topics) delete(b *bolt.Bucket, key []byte) {
	if err := b.Delete(key); err != nil && ts.err == nil {
		ts.err = err
	}
}
