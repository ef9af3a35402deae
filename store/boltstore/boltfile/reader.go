// Package boltfile looks into a history file that no store has open, checks it and
// makes it smaller.
//
//	r, err := boltfile.OpenReader("chime.db")
//	topics, err := r.Topics()
//
// An error names the file, what is wrong with it and what to do; it wraps the same
// errors as those of package boltstore.
package boltfile

import (
	"context"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore/internal/disk"
	"github.com/go-chime/chime/store/boltstore/internal/tree"
)

// Reader looks into a file that no store has open, and changes nothing in it:
// a file on a read-only disk will do, and no new epoch begins. Several may read
// one file; a store can't open it at the same time. There is one constructor,
// [OpenReader]; its methods are safe for concurrent use.
type Reader struct {
	file *disk.File
}

// Topic is what a file knows of one.
type Topic struct {
	Name     string
	Messages int             // that are kept
	Top      uint64          // offset of the last message that it was given
	Newest   time.Time       // when the last that is kept was said; zero if none is
	Keep     store.Retention // that of its last message
}

// OpenReader opens the file at path for reading.
func OpenReader(path string) (*Reader, error) {
	f, err := openReadOnly(path)
	if err != nil {
		return nil, fmt.Errorf("read history: %w", err)
	}
	return &Reader{f}, nil
}

// openReadOnly opens a file that is a chime history.
func openReadOnly(path string) (*disk.File, error) {
	f, err := disk.Open(path, disk.Options{ReadOnly: true})
	if err == nil {
		if err = f.View(func(tx *bolt.Tx) error { _, err := tree.ReadState(tx); return err }); err != nil {
			_ = f.Close()
		}
	}
	var foreign *disk.FileError
	if errors.As(err, &foreign) && errors.Is(err, disk.ErrForeign) {
		foreign.Remedy = disk.GiveHistory // none is begun here
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Topics returns the topics that the file remembers, by name. The error names those
// that can't be read.
func (r *Reader) Topics() (list []Topic, err error) {
	now := clock()
	err = r.file.View(func(tx *bolt.Tx) error {
		var faults []error
		for name, id := range tree.Names(tx, func(err error) { faults = append(faults, err) }) {
			h, n, newest, err := tree.Count(tx, name, id, now)
			if err != nil {
				faults = append(faults, err)
				continue
			}
			list = append(list, Topic{Name: name, Messages: n, Top: h.Top, Newest: newest, Keep: h.Keep})
		}
		return tree.Faults(faults)
	})
	return list, err
}

// Read is Read of [store.Store].
func (r *Reader) Read(ctx context.Context, topic string, what store.Range) (page store.Page, err error) {
	if err = ctx.Err(); err == nil {
		err = r.file.View(func(tx *bolt.Tx) (err error) {
			page, err = tree.Read(tx, topic, what, clock())
			return err
		})
	}
	if err != nil {
		return store.Page{}, fmt.Errorf("read %q: %w", topic, err)
	}
	return page, nil
}

// Close releases the file. Nothing may be called after it.
func (r *Reader) Close() error { return r.file.Close() }

func clock() int64 { return time.Now().UnixNano() }
