package tree

import (
	"iter"
	"math"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/go-chime/chime/store"
)

// Names returns the topics and their numbers, in the order of their names. A
// number that can't be read is passed to fault instead.
func Names(tx *bolt.Tx, fault func(error)) iter.Seq2[string, uint64] {
	return func(yield func(string, uint64) bool) {
		c := tx.Bucket(topicBucket).Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			name := string(k[1:])
			id, err := decodeNumber(k, v)
			if err != nil {
				fault(badTopic(name, err))
				continue
			}
			if !yield(name, id) {
				return
			}
		}
	}
}

// Count returns the head of a topic, how many messages of it are visible at the
// time now, and when the last of these was said.
func Count(tx *bolt.Tx, name string, id uint64, now int64) (h Head, n int, newest time.Time, err error) {
	c := tx.Bucket(messageBucket).Cursor()
	if h, err = headAt(c, id); err != nil {
		return h, 0, newest, badTopic(name, err)
	}
	n = int(h.n)
	if floor := agedFloor(c, id, &h, now); floor > h.Floor {
		for k, _ := c.Seek(recordKey(id, h.Floor+1)); ; k, _ = c.Next() {
			if offset, ok := within(id, k); !ok || offset > floor {
				break
			}
			n--
		}
	}
	if n > 0 {
		newest = time.Unix(0, h.last)
	}
	return h, n, newest, nil
}

// Messages calls each with the visible messages of a topic in their order, or with
// what is wrong with the one at that offset, until it returns an error.
func Messages(tx *bolt.Tx, name string, id uint64, now int64, each func(h *Head, m store.Message, fault error) error) error {
	c := tx.Bucket(messageBucket).Cursor()
	h, err := headAt(c, id)
	if err != nil {
		return badTopic(name, err)
	}
	for k, v := c.Seek(recordKey(id, agedFloor(c, id, &h, now)+1)); ; k, v = c.Next() {
		offset, ok := within(id, k)
		if !ok {
			return nil
		}
		rec, err := decodeRecord(k, v)
		if err == nil && offset > h.Top {
			err = errBeyond
		}
		if err := each(&h, rec.message(offset), err); err != nil {
			return err
		}
	}
}

// Strays calls fault with each message of no topic that is known.
func Strays(tx *bolt.Tx, known map[uint64]bool, fault func(error)) {
	c := tx.Bucket(messageBucket).Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		if id, offset, err := pair(k); err != nil {
			fault(badKey(k, err))
		} else if !known[id] && offset != math.MaxUint64 {
			fault(badRecord(offset, errNameless))
		}
	}
}
