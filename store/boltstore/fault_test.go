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
)

// Whatever is wrong with a file, Open says which file, what, and what to do.
func TestOpenSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good.db")
	s, err := Open(good, Options{checkpointEvery: 50})
	if err != nil {
		t.Fatal(err)
	}
	sayN(t, s, 300, store.Retention{})
	dirty := filepath.Join(dir, "dirty.db") // with a log after the checkpoint
	copyFile(t, good, dirty)
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
		{name: "foreign", change: func(t *testing.T, path string) { write(t, path, bytes.Repeat([]byte("no history\n"), 5000)) }, want: ErrForeign, remedy: "path"},
		{name: "short", change: func(t *testing.T, path string) { write(t, path, []byte("x")) }, want: ErrForeign, remedy: "path"},
		{name: "another bbolt file", change: func(t *testing.T, path string) {
			write(t, path, nil)
			update(t, path, func(tx *bolt.Tx) error { _, err := tx.CreateBucket([]byte("other")); return err })
		}, want: ErrForeign, remedy: "path"},
		{name: "truncated", change: func(t *testing.T, path string) { truncate(t, path, 5*4096) }, want: ErrDamaged, remedy: "backup"},
		{name: "truncated in the second page", change: func(t *testing.T, path string) { truncate(t, path, 4096+100) }, want: ErrDamaged, remedy: "backup"},
		{name: "newer", change: func(t *testing.T, path string) {
			update(t, path, func(tx *bolt.Tx) error {
				return tx.Bucket(metaBucket).Put(versionKey, binary.BigEndian.AppendUint32(nil, version+1))
			})
		}, want: ErrNewer, remedy: "version"},
		{name: "without its state", change: func(t *testing.T, path string) {
			update(t, path, func(tx *bolt.Tx) error { return tx.Bucket(metaBucket).Delete(stateKey) })
		}, want: ErrDamaged, remedy: "backup"},
		{name: "without a bucket", change: func(t *testing.T, path string) {
			update(t, path, func(tx *bolt.Tx) error { return tx.DeleteBucket(logBucket) })
		}, want: ErrDamaged, remedy: "backup"},
		{name: "a page is another", change: func(t *testing.T, path string) {
			b, _ := os.ReadFile(path)
			copy(b[3*4096:4*4096], b[4*4096:5*4096])
			copy(b[5*4096:6*4096], b[4*4096:5*4096])
			copy(b[6*4096:7*4096], b[4*4096:5*4096])
			write(t, path, b)
		}, want: ErrDamaged, remedy: "backup"},
		{name: "forbidden", open: refuse(syscall.EACCES), want: fs.ErrPermission, remedy: "user"},
		{name: "read-only", open: refuse(syscall.EROFS), want: syscall.EROFS, remedy: "writable"},
		{name: "full", open: refuse(syscall.ENOSPC), want: syscall.ENOSPC, remedy: "room"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "chime.db")
			copyFile(t, dirty, path)
			if c.change != nil {
				c.change(t, path)
			}
			s, err := Open(path, Options{openFile: c.open})
			if err == nil {
				_ = s.Close()
				t.Fatal("it opened")
			}
			explains(t, err, path, c.want, c.remedy)
		})
	}
	t.Run("no directory", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "no", "chime.db")
		_, err := Open(path, Options{})
		explains(t, err, path, fs.ErrNotExist, "create the directory")
	})
	t.Run("nothing to verify", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "typo.db")
		_, err := Verify(path)
		explains(t, err, path, fs.ErrNotExist, "path of a chime history")
	})
	t.Run("not to be read", func(t *testing.T) {
		_, err := readOnly(good, Options{openFile: func(name string, _ int, _ os.FileMode) (*os.File, error) {
			return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EACCES}
		}})
		explains(t, err, good, fs.ErrPermission, "read the file")
		if strings.Contains(err.Error(), "write") {
			t.Errorf("got %v, want no advice to let somebody write who only reads", err)
		}
	})
	t.Run("a directory", func(t *testing.T) {
		path := t.TempDir()
		_, err := Open(path, Options{})
		explains(t, err, path, syscall.EISDIR, "path of a file")
	})
}

func explains(t *testing.T, err error, path string, want error, remedy string) {
	t.Helper()
	var e *FileError
	if !errors.As(err, &e) || e.Path != path || !errors.Is(err, want) || !strings.Contains(e.Remedy, remedy) ||
		strings.Count(err.Error(), path) != 1 {
		t.Errorf("got %v, want %v of %s, and a remedy with %q", err, want, path, remedy)
	}
}

// What can't be opened can't be exported either.
func TestOnlyAFileThatOpensCanBeExported(t *testing.T) {
	path, _ := lived(t)
	broken := filepath.Join(t.TempDir(), "broken.db")
	copyFile(t, path, broken)
	truncate(t, broken, 5*4096)
	_, opening := Open(broken, Options{})
	_, reading := OpenReader(broken)
	_, verifying := Verify(broken)
	for _, err := range []error{opening, reading, verifying, Compact(broken, "")} {
		explains(t, err, broken, ErrDamaged, "backup")
		if strings.Contains(err.Error(), "export") {
			t.Errorf("got %v, want no advice to export: that fails as well", err)
		}
	}
	damage(t, path)
	_, err := Verify(path)
	for _, err := range []error{err, Compact(path, "")} {
		explains(t, err, path, ErrDamaged, "export what can be read")
	}
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
		s := begun(t, Options{})
		_, err := Open(s.path, Options{})
		explains(t, err, s.path, ErrLocked, "process")
		_, err = Verify(s.path)
		explains(t, err, s.path, ErrLocked, "process")
	})
}

// What the caller's writer does is not the file's fault.
func TestBackupToABrokenWriter(t *testing.T) {
	s := begun(t, Options{})
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
	if got, _ := os.ReadDir(filepath.Dir(s.path)); len(got) != 1 {
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
	s := begun(t, Options{})
	info, err := os.Stat(s.path)
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
	write(t, path, b)

	_, err = Verify(path)
	explains(t, err, path, ErrDamaged, "backup")
	s, err = Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Read(t.Context(), "a", store.Range{})
	explains(t, err, path, ErrDamaged, "export")
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
	sound(t, path)
}

// A payload that is too large is its sender's error, and nobody else's.
func TestTooLarge(t *testing.T) {
	s := begun(t, Options{})
	m := store.Message{Payload: make([]byte, maxPayload+1)}
	if err := s.Append(context.Background(), "a", m, store.Retention{}, nil); err == nil {
		t.Error("it was taken")
	}
	say(t, s, "a", "small", store.Retention{})
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func truncate(t *testing.T, path string, n int64) {
	t.Helper()
	if err := os.Truncate(path, n); err != nil {
		t.Fatal(err)
	}
}

func update(t *testing.T, path string, change func(tx *bolt.Tx) error) {
	t.Helper()
	db, _, err := openBolt(path, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if err := db.Update(change); err != nil {
		t.Fatal(err)
	}
}
