package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	bolt "go.etcd.io/bbolt"

	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore/boltfile"
	"github.com/go-chime/chime/store/boltstore/internal/filetest"
)

// Whatever is wrong with a file, Open says which file, what, and what to do.
func TestOpenSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good.db")
	s, err := Open(good, Options{})
	if err != nil {
		t.Fatal(err)
	}
	sayN(t, s, 300, store.Retention{})
	dirty := filepath.Join(dir, "dirty.db") // as a crash leaves it
	filetest.Copy(t, good, dirty)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(t *testing.T, path string)
		open   func(string, int, os.FileMode) (*os.File, error)
		want   error
		remedy string
	}{
		{name: "foreign", change: func(t *testing.T, path string) { filetest.Write(t, path, bytes.Repeat([]byte("no history\n"), 5000)) }, want: ErrForeign, remedy: "path"},
		{name: "short", change: func(t *testing.T, path string) { filetest.Write(t, path, []byte("x")) }, want: ErrForeign, remedy: "path"},
		{name: "another bbolt file", change: func(t *testing.T, path string) {
			filetest.Write(t, path, nil)
			filetest.Update(t, path, func(tx *bolt.Tx) error { _, err := tx.CreateBucket([]byte("other")); return err })
		}, want: ErrForeign, remedy: "path"},
		{name: "truncated", change: func(t *testing.T, path string) { filetest.Truncate(t, path, 5*4096) }, want: ErrDamaged, remedy: "backup"},
		{name: "truncated in the second page", change: func(t *testing.T, path string) { filetest.Truncate(t, path, 4096+100) }, want: ErrDamaged, remedy: "backup"},
		{name: "newer", change: func(t *testing.T, path string) {
			filetest.Update(t, path, func(tx *bolt.Tx) error {
				return tx.Bucket([]byte("meta")).Put([]byte("version"), binary.BigEndian.AppendUint32(nil, 5))
			})
		}, want: ErrNewer, remedy: "version"},
		{name: "older", change: func(t *testing.T, path string) {
			filetest.Update(t, path, func(tx *bolt.Tx) error {
				return tx.Bucket([]byte("meta")).Put([]byte("version"), binary.BigEndian.AppendUint32(nil, 3))
			})
		}, want: ErrOlder, remedy: "export it with that version"},
		{name: "without its state", change: func(t *testing.T, path string) {
			filetest.Update(t, path, func(tx *bolt.Tx) error { return tx.Bucket([]byte("meta")).Delete([]byte("state")) })
		}, want: ErrDamaged, remedy: "backup"},
		{name: "without a bucket", change: func(t *testing.T, path string) {
			filetest.Update(t, path, func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte("messages")) })
		}, want: ErrDamaged, remedy: "backup"},
		{name: "a page is another", change: func(t *testing.T, path string) {
			b, _ := os.ReadFile(path)
			copy(b[3*4096:4*4096], b[4*4096:5*4096])
			copy(b[5*4096:6*4096], b[4*4096:5*4096])
			copy(b[6*4096:7*4096], b[4*4096:5*4096])
			filetest.Write(t, path, b)
		}, want: ErrDamaged, remedy: "backup"},
		{name: "forbidden", open: refuse(syscall.EACCES), want: fs.ErrPermission, remedy: "user"},
		{name: "read-only", open: refuse(syscall.EROFS), want: syscall.EROFS, remedy: "writable"},
		{name: "full", open: refuse(syscall.ENOSPC), want: syscall.ENOSPC, remedy: "room"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "chime.db")
			filetest.Copy(t, dirty, path)
			if c.change != nil {
				c.change(t, path)
			}
			s, err := Open(path, Options{openFile: c.open})
			if err == nil {
				_ = s.Close()
				t.Fatal("it opened")
			}
			filetest.Explains(t, err, path, c.want, c.remedy)
		})
	}
	t.Run("no directory", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "no", "chime.db")
		_, err := Open(path, Options{})
		filetest.Explains(t, err, path, fs.ErrNotExist, "create the directory")
	})
	t.Run("a directory", func(t *testing.T) {
		path := t.TempDir()
		_, err := Open(path, Options{})
		filetest.Explains(t, err, path, syscall.EISDIR, "path of a file")
	})
}

func refuse(with syscall.Errno) func(string, int, os.FileMode) (*os.File, error) {
	return func(name string, flag int, mode os.FileMode) (*os.File, error) {
		if flag&os.O_RDWR != 0 {
			return nil, &fs.PathError{Op: "open", Path: name, Err: with}
		}
		return os.OpenFile(name, flag, mode)
	}
}

func TestAFileBelongsToOneProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := begun(t)
		_, err := Open(pathOf(s), Options{})
		filetest.Explains(t, err, pathOf(s), ErrLocked, "process")
		_, err = boltfile.Verify(pathOf(s))
		filetest.Explains(t, err, pathOf(s), ErrLocked, "process")
	})
}

// What the caller's writer does is not the file's fault.
func TestBackupToABrokenWriter(t *testing.T) {
	s := begun(t)
	sayN(t, s, 10, store.Retention{})
	var blamed *FileError
	if err := s.Backup(brokenWriter{}); !errors.Is(err, syscall.EPIPE) || errors.As(err, &blamed) {
		t.Errorf("got %v, want the error of the writer as it was", err)
	}
	func() {
		defer func() {
			if p := recover(); p != "a bug of the caller" {
				t.Errorf("recovered %v, want the panic of the writer", p)
			}
		}()
		t.Errorf("it panics, and Backup returns %v", s.Backup(brokenWriter{panics: true}))
	}()
	if got, _ := os.ReadDir(filepath.Dir(pathOf(s))); len(got) != 1 {
		t.Errorf("got files %v, want no copies left behind", got)
	}
}

type brokenWriter struct{ panics bool }

func (w brokenWriter) Write([]byte) (int, error) {
	if w.panics {
		panic("a bug of the caller")
	}
	return 0, syscall.EPIPE
}

func TestAFileIsForItsOwnerOnly(t *testing.T) {
	s := begun(t)
	info, err := os.Stat(pathOf(s))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode: got %v, %v, want 0600", info.Mode(), err)
	}
}

// One record that can't be read is an error for who asks for it, not for the others.
func TestADamagedRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "chime.db")
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	m := sayN(t, s, 100, store.Retention{})
	bad := say(t, s, "a", "flip this one", store.Retention{})
	m = append(m, sayN(t, s, 100, store.Retention{})...)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		at := bytes.Index(b[i:], []byte("flip this one"))
		if at < 0 {
			break
		}
		i += at
		b[i] ^= 1
	}
	filetest.Write(t, path, b)

	_, err = boltfile.Verify(path)
	filetest.Explains(t, err, path, ErrDamaged, "backup")
	s, err = Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Read(t.Context(), "a", store.Range{})
	filetest.Explains(t, err, path, ErrDamaged, "export")
	if p := read(t, s, "a", store.Range{After: bad.Offset}); len(p.Messages) != 100 {
		t.Errorf("after the damaged one: got %d messages, want 100", len(p.Messages))
	}
	if err := s.Redact(t.Context(), "a", bad.Offset); err != nil {
		t.Errorf("redact the damaged one: %v", err)
	}
	if p := read(t, s, "a", store.Range{}); len(p.Messages) != len(m) || !p.Complete {
		t.Errorf("without it: got %d messages, complete %t, want %d, true", len(p.Messages), p.Complete, len(m))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	filetest.Sound(t, path)
}

// A payload that is too large is its sender's error, and nobody else's.
func TestTooLarge(t *testing.T) {
	s := begun(t)
	if _, err := s.Append(context.Background(), strings.Repeat("a", 32_001), store.Message{}, store.Retention{}, nil); err == nil {
		t.Error("a name of 32,001 bytes was taken")
	}
	m := store.Message{Payload: make([]byte, 1<<30+1)}
	if _, err := s.Append(context.Background(), "a", m, store.Retention{}, nil); err == nil {
		t.Error("it was taken")
	}
	say(t, s, "a", "small", store.Retention{})
}
