package tree

import (
	"encoding/binary"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore/internal/disk"
)

// Head is what is known of a topic beside its messages. It says all that changes
// with them, so that none has to be read to append another.
type Head struct {
	Top   uint64          // the last offset given
	Floor uint64          // the highest that was trimmed, or forgotten. What has aged beyond it is invisible as well
	Keep  store.Retention // of the last append

	since uint64 // nothing is known of the topic up to here: the floor is not below it

	n    uint64 // messages beyond the floor
	size uint64 // bytes that these take
	dead uint64 // messages up to it, which are still to be deleted
	last int64  // time of the last of the n
	used int64  // when the topic was last appended to
	due  int64  // when it is to be looked at, see dueBucket; 0: never
}

func encodeHead(key []byte, h *Head) []byte {
	b := begin(make([]byte, 0, 64))
	for _, v := range []uint64{h.Top, h.Floor, h.since, h.n, h.size, h.dead} {
		b = binary.AppendUvarint(b, v)
	}
	b = binary.AppendVarint(binary.AppendVarint(b, int64(h.Keep.Keep)), int64(h.Keep.Age))
	for _, v := range []int64{h.last, h.used, h.due} {
		b = appendFixed(b, v)
	}
	seal(key, b)
	return b
}

func decodeHead(key, value []byte) (h Head, err error) {
	r, err := unseal(key, value)
	if err != nil {
		return h, err
	}
	h = Head{Top: r.uint(), Floor: r.uint(), since: r.uint(), n: r.uint(), size: r.uint(), dead: r.uint()}
	keep := r.int()
	h.Keep = store.Retention{Keep: int(keep), Age: time.Duration(r.int())}
	h.last, h.used, h.due = r.fixed(), r.fixed(), r.fixed()
	if r.err == nil && (h.Floor > h.Top || h.since > h.Floor || int64(h.Keep.Keep) != keep) {
		r.fail(errRange)
	}
	return h, r.end()
}

// aged reports whether a message from the time at has aged by now.
func (h *Head) aged(at, now int64) bool { return h.Keep.Age > 0 && at <= now-int64(h.Keep.Age) }

// expires is when a message from the time at will have aged.
func (h *Head) expires(at int64) int64 {
	if expires := at + int64(h.Keep.Age); expires >= at {
		return expires
	}
	return latest
}

func encodeNumber(key []byte, n uint64) []byte {
	b := binary.AppendUvarint(begin(nil), n)
	seal(key, b)
	return b
}

func decodeNumber(key, value []byte) (uint64, error) {
	r, err := unseal(key, value)
	if err != nil {
		return 0, err
	}
	n := r.uint()
	return n, r.end()
}

// find returns the number of the topic, 0 if it is not known.
func find(tx *bolt.Tx, name string) (uint64, error) {
	key := nameKey(name)
	value := tx.Bucket(topicBucket).Get(key)
	if value == nil {
		return 0, nil
	}
	n, err := decodeNumber(key, value)
	return n, badTopic(name, err)
}

// headAt returns the head of a topic, with the cursor on it.
func headAt(c *bolt.Cursor, topic uint64) (Head, error) {
	key := headKey(topic)
	k, v := c.Seek(key)
	if string(k) != string(key) {
		return Head{}, errMissing
	}
	return decodeHead(k, v)
}

// badTopic is the error of one topic: the others can be read.
func badTopic(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: topic %q: %w", disk.ErrDamaged, name, err)
}
