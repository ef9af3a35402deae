package boltfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"

	"github.com/go-chime/chime/store/boltstore/internal/disk"
	"github.com/go-chime/chime/store/boltstore/internal/tree"
)

// batchBytes is what one transaction of a new file takes: bbolt holds it in memory.
const batchBytes = 8 << 20

// Compact copies what is kept in the file at path, without the pages that are
// free and without what waits to be deleted, so that nothing that was trimmed,
// forgotten or redacted is left. It can't be used on a file that is open
// elsewhere, and fails, before it has changed anything, at one that is damaged.
//
// Without to, the copy takes the place of the file once it is on the disk: a
// crash leaves the one or the other. Epoch and offsets stay. With to, the copy
// is a new file there, and a backup: the original may go on, so the copy begins
// a new epoch when it is opened.
func Compact(path, to string) error {
	if err := compact(path, to, (*os.File).Sync); err != nil {
		return fmt.Errorf("compact history: %w", err)
	}
	return nil
}

func compact(path, to string, sync func(*os.File) error) error {
	// In place of what a link leads to, not of the link.
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	f, err := openReadOnly(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // last, since it ends the lock
	mode, mark := os.FileMode(disk.FileMode), tree.Copied
	if to == "" {
		info, err := f.Stat()
		if err != nil {
			return disk.Explain(path, err)
		}
		to, mode, mark = path, info.Mode().Perm(), tree.Closed
	} else if err := disk.Absent(to); err != nil {
		return err
	}
	return disk.Replace(to, mode, sync, func(name string) error {
		return f.View(func(tx *bolt.Tx) error {
			if _, err := tree.Verify(tx); err != nil {
				return err
			}
			return fill(name, func(w *writer) error { return tree.Copy(tx, mark, w.update, w.put) })
		})
	})
}

// fill has write write to the empty file of that name.
func fill(name string, write func(*writer) error) error {
	f, err := disk.Open(name, disk.Options{})
	if err != nil {
		return err
	}
	f.Unsynced() // disk.Replace syncs, once and for all of it
	w := &writer{file: f}
	err = write(w)
	if err == nil {
		err = f.UpdateLast(w.flush)
	}
	return errors.Join(err, f.Close())
}

// writer writes to a file in transactions of bounded size.
type writer struct {
	file    *disk.File
	entries []entry
	size    int
}

type entry struct{ bucket, key, value []byte }

func (w *writer) update(do func(tx *bolt.Tx) error) error { return w.file.Update(do) }

// put takes a key and a value that stay as they are until the end.
func (w *writer) put(bucket, key, value []byte) error {
	w.entries = append(w.entries, entry{bucket, key, value})
	if w.size += len(key) + len(value); w.size < batchBytes {
		return nil
	}
	return w.file.Update(w.flush)
}

func (w *writer) flush(tx *bolt.Tx) error {
	for _, e := range w.entries {
		b := tx.Bucket(e.bucket)
		b.FillPercent = 1 // all keys come in their order
		if err := b.Put(e.key, e.value); err != nil {
			return err
		}
	}
	w.entries, w.size = nil, 0
	return nil
}
