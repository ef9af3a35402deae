package boltstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
)

// compactBytes is what one transaction of a copy takes: bbolt holds it in memory.
const compactBytes = 8 << 20

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
		return fmt.Errorf("compact history: %w", explain(path, err))
	}
	return nil
}

func compact(path, to string, sync func(*os.File) error) (err error) {
	// In place of what a link leads to, not of the link.
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	s, err := readOnly(path, Options{})
	if err != nil {
		return err
	}
	defer func() { _ = s.closeBolt() }() // last, since it ends the lock
	mode := os.FileMode(fileMode)
	if to == "" {
		to = path
		info, err := s.file.Stat()
		if err != nil {
			return err
		}
		mode = info.Mode().Perm()
	} else {
		s.meta.mark = copied
		if err := absent(to); err != nil {
			return err
		}
	}
	return replace(to, mode, sync, func(name string) error { return s.copyTo(name) })
}

// absent returns an error if there is anything at path.
func absent(path string) error {
	_, err := os.Lstat(path)
	switch {
	case err == nil:
		return &FileError{path, fs.ErrExist, "give the path of no file"}
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return explain(path, err)
}

// replace has fill write a file beside path and then puts that in its place. It
// is on the disk before it has the name, and the name when replace returns.
func replace(path string, mode os.FileMode, sync func(*os.File) error, fill func(name string) error) (err error) {
	defer func() { err = explain(path, err) }()
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*")
	if err != nil {
		return err
	}
	name := f.Name()
	defer func() { _ = os.Remove(name) }() // it has another name if all went well
	if err := fill(name); err != nil {
		_ = f.Close()
		return err
	}
	if err := errors.Join(f.Chmod(mode), sync(f), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(name, path); err != nil {
		return err
	}
	return syncDir(path, sync)
}

// copyTo writes to the empty file of that name what s, a reader, has.
func (s *Store) copyTo(name string) (err error) {
	defer s.guard(&err)
	defer noFault()()
	return s.readTx(func(src *bolt.Tx) error {
		if _, err := s.verify(src); err != nil {
			return err
		}
		db, _, err := openBolt(name, nil, false)
		if err != nil {
			return explain(name, err)
		}
		db.AllocSize = 64 << 10 // else it would grow by megabytes
		db.NoSync = true        // replace does, once and for all of it
		c := &copying{db: db}
		err = errors.Join(s.copy(src, c), c.end(), db.Close())
		return explain(name, err)
	})
}

// copy writes the checkpoint as of now, with all of the log before it.
func (s *Store) copy(src *bolt.Tx, c *copying) error {
	m := s.meta
	m.checkpoint = m.seq
	if err := c.db.Update(func(tx *bolt.Tx) error { return create(tx, &m) }); err != nil {
		return err
	}
	kept := map[uint64]uint64{} // floors of the topics that are remembered, by id
	for _, t := range s.order {
		kept[t.id] = t.floor
		key := topicKey(t.id)
		if err := c.put(topicBucket, key, encodeTopic(key, t)); err != nil {
			return err
		}
		for _, b := range t.blocks {
			if b.last <= t.floor {
				continue
			}
			entries, err := t.entries(b, within(src))
			if err != nil {
				return err
			}
			left := *b
			left.entries = entries[beyond(entries, t.floor):]
			key := indexKey(t.id, b.first)
			if err := c.put(indexBucket, key, encodeBlock(key, &left)); err != nil {
				return err
			}
		}
	}
	return src.Bucket(logBucket).ForEach(func(k, v []byte) error {
		r, err := decodeRecord(k, v)
		if err != nil {
			return err
		}
		if floor, ok := kept[r.topic]; !ok || r.seq <= floor {
			return nil
		}
		return c.put(logBucket, k, v)
	})
}

// copying writes to a file in transactions of bounded size.
type copying struct {
	db   *bolt.DB
	tx   *bolt.Tx
	size int
}

// put takes a key and a value that stay as they are until end.
func (c *copying) put(bucket, key, value []byte) (err error) {
	if c.size > compactBytes {
		if err := c.end(); err != nil {
			return err
		}
	}
	if c.tx == nil {
		if c.tx, err = c.db.Begin(true); err != nil {
			return err
		}
	}
	c.size += len(key) + len(value)
	b := c.tx.Bucket(bucket)
	b.FillPercent = logFill // all keys come in their order
	return b.Put(key, value)
}

// end commits what was put.
func (c *copying) end() error {
	if c.tx == nil {
		return nil
	}
	err := c.tx.Commit()
	if err != nil {
		_ = c.tx.Rollback()
	}
	c.tx, c.size = nil, 0
	return err
}
