package tree

import (
	"encoding/binary"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/go-chime/chime/store"
)

// once has, for messages with a key, the offset by topic and key. An entry counts as
// long as its message does: what was trimmed is deleted later, and its entry with it,
// unless that is another message's by then.

var (
	errUnkeyed = errors.New("nothing leads to it from its key")
	errAstray  = errors.New("it leads to no message that has it")
)

// said returns the offset of the message of t that has m's key; 0 is none. It returns
// [store.ErrKeyReused] if that says something else.
func (ts *topics) said(t *topic, m *store.Message) (uint64, error) {
	key := onceKey(t.id, m.Key)
	value := ts.tx.Bucket(onceBucket).Get(key)
	if value == nil {
		return 0, nil
	}
	offset, err := decodeNumber(key, value)
	if err != nil {
		return 0, badOnce(m.Key, t.name, err)
	}
	ts.trim(t)
	if offset <= agedFloor(ts.c, t.id, &t.Head, ts.now) {
		return 0, nil
	}
	at := recordKey(t.id, offset)
	value = ts.messages.Get(at)
	if value == nil { // which Verify tells of
		return 0, nil
	}
	rec, err := decodeRecord(at, value)
	if err != nil {
		return 0, badRecord(offset, err)
	}
	if before := rec.message(offset); !before.Says(m) {
		return 0, fmt.Errorf("%w, at offset %d", store.ErrKeyReused, offset)
	}
	return offset, nil
}

// putOnce has m's key lead to it.
func (ts *topics) putOnce(t *topic, m *store.Message) {
	key := onceKey(t.id, m.Key)
	ts.put(ts.tx.Bucket(onceBucket), key, encodeNumber(key, m.Offset))
}

// freeOnce frees the key of a message that is deleted.
func (ts *topics) freeOnce(t *topic, key string, offset uint64) {
	b, at := ts.tx.Bucket(onceBucket), onceKey(t.id, key)
	if value := b.Get(at); value != nil {
		if n, err := decodeNumber(at, value); err != nil || n == offset {
			ts.delete(b, at)
		}
	}
}

// freeAll frees those keys of a topic that lead to an offset, 0 being any: of a message
// that can't be read, and of a topic that goes.
func (ts *topics) freeAll(t *topic, offset uint64) {
	b := ts.tx.Bucket(onceBucket)
	var keys [][]byte
	c, first := b.Cursor(), onceKey(t.id, "")
	for k, v := c.Seek(first); len(k) >= len(first) && string(k[:len(first)]) == string(first); k, v = c.Next() {
		if n, err := decodeNumber(k, v); offset == 0 || err != nil || n == offset {
			keys = append(keys, append([]byte(nil), k...))
		}
	}
	for _, key := range keys {
		ts.delete(b, key)
	}
}

// eachOnce calls do with each key of the file, and what is known of the topic that it
// is of, until that returns an error.
func eachOnce(tx *bolt.Tx, do func(k, v []byte, id uint64, h *Head, err error) error) error {
	var topic uint64
	var h Head
	var err error
	heads := tx.Bucket(messageBucket).Cursor()
	return tx.Bucket(onceBucket).ForEach(func(k, v []byte) error {
		if len(k) <= 8 {
			return do(k, v, 0, &h, fmt.Errorf("a key has %d bytes, want more than 8", len(k)))
		}
		if id := binary.BigEndian.Uint64(k); id != topic {
			topic = id
			h, err = headAt(heads, id)
		}
		return do(k, v, topic, &h, err)
	})
}

// badOnce is the error of one key: the messages can be read.
func badOnce(key, topic string, err error) error {
	return badTopic(topic, fmt.Errorf("its key %q: %w", key, err))
}
