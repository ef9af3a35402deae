package boltstore

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// Report is what [Verify] found in a file.
type Report struct {
	Topics   int   // that are remembered
	Messages int   // that are kept
	Bytes    int64 // of their payloads
	Waiting  int   // messages to be deleted by the next sweep
}

// Verify reads all of a file and compares it with itself: that its pages hang
// together, that every entry of the index has its record and every record its
// entry, and the checksums. It changes nothing, and can't be used on a file
// that is open elsewhere. The error holds what is wrong, of many faults the first ten.
func Verify(path string) (Report, error) {
	r, err := verify(path)
	if err != nil {
		return r, fmt.Errorf("verify history: %w", explain(path, err))
	}
	return r, nil
}

func verify(path string) (r Report, err error) {
	s, err := readOnly(path, Options{})
	if err != nil {
		return r, err
	}
	defer func() { _ = s.closeBolt() }()
	defer s.guard(&err)
	defer noFault()()
	err = s.readTx(func(tx *bolt.Tx) error {
		r, err = s.verify(tx)
		return err
	})
	return r, err
}

// promise is an entry of the index, with where it stands.
type promise struct {
	entry
	t    *topic
	gone bool // its record may be
}

func (s *Store) verify(tx *bolt.Tx) (r Report, err error) {
	var all []promise
	topics := map[*topic]bool{}
	for _, t := range s.order {
		topics[t] = true
	}
	for _, t := range s.rotten {
		topics[t] = true
	}
	for t := range topics {
		if !t.dropped {
			r.Topics++
		}
		for _, b := range t.blocks {
			entries, err := t.entries(b, within(tx))
			if err != nil {
				return r, err
			}
			for _, e := range entries {
				all = append(all, promise{e, t, e.seq <= t.floor})
			}
		}
	}
	all = append(all, s.gap.missing...)
	slices.SortFunc(all, func(a, b promise) int { return cmp.Compare(a.seq, b.seq) })
	ids := map[uint64]bool{}
	for t := range topics {
		ids[t.id] = true
	}
	return r, r.compare(tx, all, ids)
}

// compare walks over the log and what was promised to be in it. The topics with
// these ids are those that are known.
func (r *Report) compare(tx *bolt.Tx, all []promise, ids map[uint64]bool) error {
	var wrong []error
	add := func(seq uint64, err error) {
		wrong = append(wrong, fmt.Errorf("%w at offset %d: %w", errRecord, seq, err))
	}
	c := tx.Bucket(logBucket).Cursor()
	k, v := c.First()
	for k != nil || len(all) > 0 {
		seq := uint64(0)
		if k != nil {
			var err error
			if seq, err = number(k); err != nil {
				wrong = append(wrong, fmt.Errorf("%w with the key % x: %w", errRecord, k, err))
				k, v = c.Next()
				continue
			}
		}
		switch {
		case k == nil || len(all) > 0 && all[0].seq < seq:
			if !all[0].gone {
				add(all[0].seq, errMissing)
			}
			all = all[1:]
		case len(all) == 0 || seq < all[0].seq:
			add(seq, stray(k, v, ids))
			k, v = c.Next()
		default:
			if err := r.count(k, v, all[0]); err != nil {
				add(seq, err)
			}
			all = all[1:]
			k, v = c.Next()
		}
	}
	return several(wrong)
}

var (
	errMissing  = errors.New("it is missing")
	errStray    = errors.New("no index leads to it")
	errMismatch = errors.New("it is not what the index says")
)

// stray returns what is wrong with a record that no index leads to.
func stray(k, v []byte, ids map[uint64]bool) error {
	rec, err := decodeRecord(k, v)
	if err == nil && !ids[rec.topic] {
		err = errNameless
	}
	return cmp.Or(err, errStray)
}

func (r *Report) count(k, v []byte, want promise) error {
	rec, err := decodeRecord(k, v)
	switch {
	case err != nil:
		return err
	case rec.topic != want.t.id:
		return errTopic
	case rec.at != want.at || len(rec.data) != want.size:
		return errMismatch
	case want.gone:
		r.Waiting++
	default:
		r.Messages++
		r.Bytes += int64(want.size)
	}
	return nil
}
