package boltstore

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
)

// copyAside copies the file to one beside it and marks the copy as one. Without
// the mark a copy that is put back would give offsets again that clients have
// seen; and a mark can't be put into the pages as they go by. The caller has to
// discard the file.
func (s *Store) copyAside() (*os.File, error) {
	f, err := os.CreateTemp(filepath.Dir(s.path), filepath.Base(s.path)+".backup-*")
	if err != nil {
		return nil, fmt.Errorf("make room for a copy: %w", err)
	}
	whole := false
	defer func() {
		if !whole { // an error, or a fault
			discard(f)
		}
	}()
	if err := s.readTx(func(tx *bolt.Tx) error {
		_, err := tx.WriteTo(f)
		return err
	}); err != nil {
		return nil, err
	}
	if err := relabel(f.Name()); err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	whole = true
	return f, nil
}

func discard(f *os.File) {
	_ = f.Close()
	_ = os.Remove(f.Name())
}

// relabel marks the file at path as a copy. What has come into the original's
// pages since it was opened is in it, too.
func relabel(path string) error {
	if err := inspect(path, nil); err != nil {
		return err
	}
	db, _, err := openBolt(path, nil, false)
	if err != nil {
		return err
	}
	if err := db.Update(func(tx *bolt.Tx) error {
		m, err := readMeta(tx)
		if err != nil {
			return err
		}
		m.mark = copied
		return putMeta(tx, &m)
	}); err != nil {
		_ = db.Close()
		return err
	}
	return db.Close()
}
