package boltstore

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
)

// backup copies db to a file beside it, marks the copy as one, and writes that
// to w. Without the mark a copy that is put back would give offsets again that
// clients have seen; and a mark can't be put into the pages as they go by.
func backup(db *bolt.DB, w io.Writer) (err error) {
	f, err := os.CreateTemp(filepath.Dir(db.Path()), filepath.Base(db.Path())+".backup-*")
	if err != nil {
		return fmt.Errorf("make room for a copy: %w", err)
	}
	defer func() {
		_ = f.Close()
		_ = os.Remove(f.Name())
	}()
	if err := db.View(func(tx *bolt.Tx) error {
		_, err := tx.WriteTo(f)
		return err
	}); err != nil {
		return err
	}
	if err := relabel(f.Name()); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}

// relabel marks the file at path as a copy.
func relabel(path string) error {
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
