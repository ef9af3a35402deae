package boltstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	bolt "go.etcd.io/bbolt"

	"github.com/go-chime/chime/store"
)

// nearby is how far a cursor steps rather than seeks from one record to the
// next: in a log of few topics the next one is close.
const nearby = 8

// Read implements [store.Store]. The index says what the page holds; the log is
// read for that alone, in a transaction that ends before Read returns.
func (s *Store) Read(ctx context.Context, topic string, r store.Range) (store.Page, error) {
	p, err := s.read(ctx, topic, r)
	if err != nil {
		return store.Page{}, fmt.Errorf("read %q: %w", topic, err)
	}
	p.Epoch = s.epoch
	return p, nil
}

func (s *Store) read(ctx context.Context, name string, r store.Range) (p store.Page, err error) {
	if err := ctx.Err(); err != nil {
		return p, err
	}
	s.topicsMu.RLock()
	t, horizon, shut := s.topics[name], s.horizon, s.shut
	s.topicsMu.RUnlock()
	if shut {
		return p, store.ErrClosed
	}
	if t == nil {
		return store.Page{Messages: []store.Message{}, Complete: r.Newest || r.After == 0 && horizon == 0}, nil
	}
	defer s.guard(&err)
	defer noFault()()
	tx, p, picked, err := s.pick(t, r)
	if err != nil {
		return p, err
	}
	defer s.leave(tx)
	return p, s.fill(tx, t, p.Messages, picked)
}

// pick decides what the page holds, puts in what is not in the file yet, and
// returns the transaction in which to read the rest. It is begun with the topic
// locked, so it has all that readers see; the sweep takes nothing from it.
func (s *Store) pick(t *topic, r store.Range) (tx *bolt.Tx, p store.Page, picked []entry, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	// From before the transaction until all is looked up: what is let go of
	// meanwhile would be found in neither.
	s.heldMu.RLock()
	defer s.heldMu.RUnlock()
	if tx, err = s.snapshot(); err != nil {
		return nil, p, nil, err
	}
	picking := true
	defer func() {
		if picking { // an error, or a fault: Close would wait for the transaction
			s.leave(tx)
		}
	}()
	from := within(tx)
	floor, err := t.agedSeen(clock(), from)
	if err != nil {
		return nil, p, nil, err
	}
	t.seen.floor = floor
	if picked, p, err = t.pick(r, from); err != nil {
		return nil, p, nil, err
	}
	p.Messages = make([]store.Message, len(picked))
	for i, e := range picked {
		if m, ok := s.held[e.seq]; ok {
			p.Messages[i] = m
		}
	}
	picking = false
	return tx, p, picked, nil
}

// fill reads from the log the messages that are not there yet.
func (s *Store) fill(tx *bolt.Tx, t *topic, messages []store.Message, picked []entry) error {
	if len(picked) == 0 {
		return nil
	}
	c := tx.Bucket(logBucket).Cursor()
	at := uint64(0) // where c is
	for i, e := range picked {
		if messages[i].Offset != 0 {
			continue
		}
		var k, v []byte
		if at != 0 && e.seq-at <= nearby {
			for at < e.seq {
				if k, v = c.Next(); k == nil {
					break
				}
				at, _ = number(k)
			}
		} else if k, v = c.Seek(logKey(e.seq)); k != nil {
			at, _ = number(k)
		}
		if k == nil || at != e.seq {
			return fmt.Errorf("%w at offset %d is missing", errRecord, e.seq)
		}
		rec, err := decodeRecord(k, v)
		if err == nil && rec.topic != t.id {
			err = errTopic
		}
		if err != nil {
			return fmt.Errorf("%w at offset %d: %w", errRecord, e.seq, err)
		}
		messages[i] = rec.message()
	}
	return nil
}

var errTopic = errors.New("it belongs to another topic")

// fetch is the loader for whoever has no transaction.
func (s *Store) fetch(t *topic, b *block) (entries []entry, err error) {
	err = s.view(func(from loader) error {
		entries, err = from(t, b)
		return err
	})
	return entries, err
}

// view calls look with a loader in a transaction of its own.
func (s *Store) view(look func(from loader) error) (err error) {
	defer s.guard(&err)
	defer noFault()()
	return s.readTx(func(tx *bolt.Tx) error { return look(within(tx)) })
}

// within returns the loader that reads in tx.
func within(tx *bolt.Tx) loader {
	return func(t *topic, b *block) ([]entry, error) {
		key := indexKey(t.id, b.first)
		value := tx.Bucket(indexBucket).Get(key)
		if value == nil {
			return nil, fmt.Errorf("%w: the index of topic %d from %d on is missing", ErrDamaged, t.id, b.first)
		}
		_, got, err := decodeBlock(key, value)
		if err == nil && (got.n != b.n || got.last != b.last) {
			err = errRange
		}
		if err != nil {
			return nil, fmt.Errorf("%w: the index of topic %d from %d on: %w", ErrDamaged, t.id, b.first, err)
		}
		return got.entries, nil
	}
}

// guard makes an error of what is read from the file's memory map and isn't
// there: a page that the disk can't give is a fault, and bbolt panics at what it
// doesn't expect. It also names the file in the error. Use it with defer.
func (s *Store) guard(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w: %v", ErrDamaged, p)
	}
	if *err != nil {
		*err = explain(s.path, *err)
	}
}

// Backup writes a copy of the store, as of the last commit, to w. The store is
// in use meanwhile. The copy begins a new epoch when it is opened, since the
// original may have gone on.
//
// It is made in a file beside the store's and then written to w: the disk needs
// room for a second whole file until Backup returns, and the store grows by what
// is let in until the copy is made. An error of w is returned as it is.
func (s *Store) Backup(w io.Writer) error {
	f, err := s.backup()
	if err != nil {
		return fmt.Errorf("backup history: %w", err)
	}
	defer discard(f)
	_, err = io.Copy(w, f)
	return err
}

func (s *Store) backup() (f *os.File, err error) {
	defer s.guard(&err)
	defer noFault()()
	return s.copyAside()
}

// noFault makes faults of this goroutine panics, for guard, until the returned
// function is called.
func noFault() func() {
	old := debug.SetPanicOnFault(true)
	return func() { debug.SetPanicOnFault(old) }
}
