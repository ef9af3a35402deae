package boltstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/go-chime/chime/store"
)

// Reader looks into a file that no Store has open, and changes nothing in it:
// a file on a read-only disk will do, and no new epoch begins. Several may read
// one file; a Store can't open it meanwhile. There is one constructor,
// [OpenReader]; its methods are safe for concurrent use.
type Reader struct {
	s *Store
}

// Topic is what a file knows of one.
type Topic struct {
	Name     string
	Messages int             // that are kept
	Top      uint64          // offset of the last message that it was given
	Newest   time.Time       // when the last that is kept was said; zero if none is
	Keep     store.Retention // that of its last message
}

// OpenReader opens the file at path for reading. Errors are those of [Open].
func OpenReader(path string) (*Reader, error) {
	s, err := readOnly(path, Options{})
	if err != nil {
		return nil, fmt.Errorf("read history: %w", explain(path, err))
	}
	return &Reader{s}, nil
}

// readOnly opens a store that has no committer and must not be written to.
func readOnly(path string, o Options) (s *Store, err error) {
	defer func() {
		if errors.Is(err, fs.ErrPermission) {
			err = &FileError{path, withoutPath(err, path), "let this user read the file"}
		}
	}()
	s = newStore(path, o)
	switch info, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0:
		return nil, &FileError{path, withoutPath(cmp.Or(err, ErrForeign), path), "give the path of a chime history"}
	case err != nil:
		return nil, err
	}
	if err := inspect(path, o.openFile); err != nil {
		return nil, err
	}
	if s.db, s.file, err = openBolt(path, o.openFile, true); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = s.closeBolt()
		}
	}()
	defer s.guard(&err)
	defer noFault()()
	err = s.readTx(s.load)
	s.epoch = s.meta.epoch
	return s, err
}

// Topics returns the topics that the file remembers, by name.
func (r *Reader) Topics() (list []Topic, err error) {
	s, now := r.s, clock()
	defer s.guard(&err)
	defer noFault()()
	err = s.readTx(func(tx *bolt.Tx) error {
		for _, t := range s.order {
			n, newest, err := t.kept(now, within(tx))
			if err != nil {
				return err
			}
			about := Topic{Name: t.name, Messages: n, Top: t.top, Keep: t.keep}
			if n > 0 {
				about.Newest = time.Unix(0, newest)
			}
			list = append(list, about)
		}
		return nil
	})
	slices.SortFunc(list, func(a, b Topic) int { return cmp.Compare(a.Name, b.Name) })
	return list, err
}

// kept counts the messages that readers see at the time now, and returns the
// time of the last. It is called without mu.
func (t *topic) kept(now int64, from loader) (n int, newest int64, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	floor, err := t.agedSeen(now, from)
	if err != nil {
		return 0, 0, err
	}
	for _, b := range t.blocks {
		if b.last <= floor {
			continue
		}
		n, newest = n+b.n, b.newest
		if b.first <= floor {
			entries, err := t.entries(b, from)
			if err != nil {
				return 0, 0, err
			}
			n -= beyond(entries, floor)
		}
	}
	return n, newest, nil
}

// Read is [Store.Read].
func (r *Reader) Read(ctx context.Context, topic string, what store.Range) (store.Page, error) {
	return r.s.Read(ctx, topic, what)
}

// Close lets go of the file. Nothing may be called after it.
func (r *Reader) Close() error { return r.s.closeBolt() }
