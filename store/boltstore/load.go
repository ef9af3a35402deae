package boltstore

import (
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// load builds what memory knows from the file: the checkpoint, and the log
// after it. All counters come from here, so history is complete before
// anything new is said.
func (s *Store) load(tx *bolt.Tx) (err error) {
	if s.meta, err = readMeta(tx); err != nil {
		return err
	}
	s.horizon = s.meta.horizon
	byID := map[uint64]*topic{}
	if err := tx.Bucket(topicBucket).ForEach(func(k, v []byte) error {
		t, err := decodeTopic(k, v)
		if err == nil && (t.top > s.meta.seq || t.floor > s.meta.seq || t.id >= s.meta.nextID || s.topics[t.name] != nil) {
			err = errRange
		}
		if err != nil {
			return fmt.Errorf("%w: topic %x: %w", ErrDamaged, k, err)
		}
		byID[t.id] = t
		s.enter(t)
		return nil
	}); err != nil {
		return err
	}
	if err := s.loadIndex(tx, byID); err != nil {
		return err
	}
	if err := s.loadLog(tx, byID); err != nil {
		return err
	}
	for _, t := range byID {
		t.seen = view{t.top, t.floor, t.keep}
		s.rot(t)
	}
	return nil
}

func (s *Store) loadIndex(tx *bolt.Tx, byID map[uint64]*topic) error {
	return tx.Bucket(indexBucket).ForEach(func(k, v []byte) error {
		id, b, err := decodeBlock(k, v)
		if err != nil {
			return fmt.Errorf("%w: index %x: %w", ErrDamaged, k, err)
		}
		t := byID[id]
		if t == nil {
			// The topic was dropped, and the sweep did not get to it. A floor above
			// all that it has makes it go on.
			t = &topic{id: id, floor: s.meta.seq, dropped: true, touched: true}
			byID[id] = t
		}
		if n := len(t.blocks); n > 0 && t.blocks[n-1].last >= b.first || b.last > s.meta.checkpoint {
			return fmt.Errorf("%w: index %x: %w", ErrDamaged, k, errRange)
		}
		b.entries = nil
		t.blocks = append(t.blocks, b)
		t.n += b.n
		t.rise(t.floor)
		return nil
	})
}

func (s *Store) loadLog(tx *bolt.Tx, byID map[uint64]*topic) error {
	c := tx.Bucket(logBucket).Cursor()
	from := within(tx)
	for k, v := c.Seek(logKey(s.meta.checkpoint + 1)); k != nil; k, v = c.Next() {
		r, err := decodeRecord(k, v)
		if err == nil {
			err = s.replay(&r, byID, from)
		}
		if err != nil {
			offset, _ := number(k) // a key that is none is what err says
			return fmt.Errorf("%w: the record at offset %d: %w", ErrDamaged, offset, err)
		}
	}
	return nil
}

// replay does to its topic what r, when it was let in, did.
func (s *Store) replay(r *record, byID map[uint64]*topic, from loader) error {
	t := byID[r.topic]
	if r.name != nil && t == nil {
		t = &topic{id: r.topic, name: *r.name, named: true}
		if s.topics[t.name] != nil {
			return errRange
		}
		byID[t.id] = t
		s.enter(t)
		s.meta.nextID = max(s.meta.nextID, t.id+1)
	}
	if t == nil || t.dropped || r.prev != t.top {
		return errTopic
	}
	if r.keep != nil {
		t.keep = *r.keep
	}
	if err := t.add(entry{r.seq, r.at, len(r.data)}, from); err != nil {
		return err
	}
	t.top = r.seq
	t.used = clock() // later than it was: it is to be remembered long enough
	t.rise(r.floor)
	s.meta.seq = r.seq
	s.since++
	s.touch(t)
	return nil
}
