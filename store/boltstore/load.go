package boltstore

import (
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// load builds what memory knows from the file: the checkpoint, and the log
// after it. All counters come from here, so history is complete before
// anything new is said; but for what gap says.
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
		if err != nil {
			s.gap.unread(s, k, err)
			continue
		}
		s.gap.skipped(s, r.seq)
		s.meta.nextID = max(s.meta.nextID, r.topic+1)
		if err := s.fits(&r, byID[r.topic]); err != nil {
			s.gap.note(r.seq, err)
			s.meta.seq = r.seq
			continue
		}
		if err := s.replay(&r, byID, from); err != nil {
			return fmt.Errorf("%w: the record at offset %d: %w", ErrDamaged, r.seq, err)
		}
	}
	return nil
}

// fits returns why r can't be what t, which is nil if it is not known, was given next.
func (s *Store) fits(r *record, t *topic) error {
	switch {
	case t == nil && r.name == nil:
		return errNameless
	case t == nil && s.topics[*r.name] != nil || t != nil && t.dropped:
		return errTopic
	case t != nil && r.prev < t.top:
		return errRange
	}
	return nil
}

// replay does to its topic what r, when it was let in, did.
func (s *Store) replay(r *record, byID map[uint64]*topic, from loader) error {
	t := byID[r.topic]
	if t == nil {
		t = &topic{id: r.topic, name: *r.name, named: true}
		byID[t.id] = t
		s.enter(t)
	}
	if r.prev > t.top && !s.gap.has(r.prev) {
		s.gap.missing = append(s.gap.missing, promise{entry: entry{seq: r.prev}, t: t})
		s.gap.note(r.prev, errMissing)
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
