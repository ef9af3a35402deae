package boltstore

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/go-chime/chime/store"
)

// disk takes down what is synced beside bbolt's own commits, and which file has
// the name meanwhile.
type disk struct {
	t     *testing.T
	path  string
	was   os.FileInfo // what has the name in the beginning; nil: nothing
	fails string      // what can't be synced
	did   []string
}

func newDisk(t *testing.T, path string) *disk {
	t.Helper()
	d := &disk{t: t, path: path}
	if info, err := os.Stat(path); err == nil {
		d.was = info
	}
	return d
}

func (d *disk) sync(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		d.t.Error(err)
	}
	what := "file"
	if info.IsDir() {
		what = "directory"
		if f.Name() != filepath.Dir(d.path) {
			d.t.Errorf("synced the directory %s, want that of %s", f.Name(), d.path)
		}
	} else if info.Size() == 0 {
		d.t.Error("synced the file before anything was in it")
	}
	switch there, err := os.Stat(d.path); {
	case err != nil:
		what += ", no file"
	case d.was != nil && os.SameFile(there, d.was):
		what += ", old file"
	default:
		what += ", new file"
	}
	if err := f.Sync(); err != nil {
		d.t.Error(err)
	}
	d.did = append(d.did, what)
	if what == d.fails {
		return syscall.EIO
	}
	return nil
}

func (d *disk) want(what ...string) {
	d.t.Helper()
	if !slices.Equal(d.did, what) {
		d.t.Errorf("synced %q, want %q", d.did, what)
	}
}

// A power cut leaves the one file or the other, and never a name of half a file.
func TestWhatIsReplacedIsOnTheDiskFirst(t *testing.T) {
	for _, c := range []struct {
		name string
		to   bool
		want []string
	}{
		{"in place", false, []string{"file, old file", "directory, new file"}},
		{"to another", true, []string{"file, no file", "directory, new file"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for i, fails := range append([]string{""}, c.want...) {
				path, pages := lived(t)
				to, at := "", path
				if c.to {
					to = filepath.Join(t.TempDir(), "copy.db")
					at = to
				}
				d := newDisk(t, at)
				d.fails = fails
				if err := compact(path, to, d.sync); (fails == "") != (err == nil) || fails != "" && !errors.Is(err, syscall.EIO) {
					t.Errorf("with an error of %q: got %v", fails, err)
				}
				done := c.want
				if fails != "" {
					done = c.want[:i]
				}
				d.want(done...)
				there, err := os.Stat(at)
				if replaced := err == nil && (d.was == nil || !os.SameFile(there, d.was)); replaced != (len(done) == 2) {
					t.Errorf("with an error of %q: it has another file: %t", fails, replaced)
				}
				if got, _ := filepath.Glob(at + ".new-*"); len(got) > 0 {
					t.Errorf("with an error of %q: left behind %q", fails, got)
				}
				s := opened(t, path, Options{})
				wantPages(t, s, pages)
			}
		})
	}
}

// The name of a new file is on the disk before there is a history in it, whoever
// has made it; and what a crash left is, before it is built upon.
func TestWhatIsOpenedIsOnTheDiskFirst(t *testing.T) {
	path := filepath.Join(t.TempDir(), "chime.db")
	open := func(path, fails string, want ...string) *Store {
		t.Helper()
		d := newDisk(t, path)
		d.fails = fails
		s, err := Open(path, Options{sync: d.sync})
		d.want(want...)
		if fails != "" {
			explains(t, err, path, syscall.EIO, "disk")
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	open(path, "directory, new file", "directory, new file")
	open(path, "directory, old file", "directory, old file") // it is there, and still new
	s := open(path, "", "directory, old file")
	m := sayN(t, s, 10, store.Retention{})
	crashed := filepath.Join(t.TempDir(), "crashed.db")
	copyFile(t, path, crashed)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open(path, "").Close(); err != nil { // nothing to do
		t.Error(err)
	}
	open(crashed, "file, old file", "file, old file")
	s = open(crashed, "", "file, old file")
	if p := read(t, s, "a", store.Range{}); !slices.EqualFunc(p.Messages, m, same) {
		t.Errorf("got %d messages, want %d", len(p.Messages), len(m))
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
