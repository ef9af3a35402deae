package tree

import (
	"math"

	bolt "go.etcd.io/bbolt"
)

// Copy has put what a history, as of src, keeps, with that mark: in the order of the
// keys, and without what waits to be deleted. The buckets are there when put is called.
func Copy(src *bolt.Tx, mark Mark, update func(func(*bolt.Tx) error) error, put func(bucket, key, value []byte) error) error {
	s, err := ReadState(src)
	if err != nil {
		return err
	}
	s.Mark = mark
	if err := update(func(tx *bolt.Tx) error { return Create(tx, &s) }); err != nil {
		return err
	}
	for _, bucket := range [][]byte{topicBucket, dueBucket} {
		if err := src.Bucket(bucket).ForEach(func(k, v []byte) error { return put(bucket, k, v) }); err != nil {
			return err
		}
	}
	if err := eachOnce(src, func(k, v []byte, _ uint64, h *Head, err error) error {
		if err != nil {
			return err
		}
		if offset, err := decodeNumber(k, v); err != nil || offset <= h.Floor {
			return err
		}
		return put(onceBucket, k, v)
	}); err != nil {
		return err
	}
	var topic uint64
	var h Head
	heads := src.Bucket(messageBucket).Cursor()
	return src.Bucket(messageBucket).ForEach(func(k, v []byte) error {
		id, offset, err := pair(k)
		if err == nil && id != topic {
			topic = id
			h, err = headAt(heads, id)
		}
		if err != nil {
			return err
		}
		if offset == math.MaxUint64 {
			h.dead = 0
			return put(messageBucket, k, encodeHead(k, &h))
		}
		if offset <= h.Floor {
			return nil
		}
		return put(messageBucket, k, v)
	})
}
