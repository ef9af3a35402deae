package filetest

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// Syncs notes what is synced beside bbolt's own commits, and which file has the name
// then.
type Syncs struct {
	t     *testing.T
	path  string
	Was   os.FileInfo // what has the name in the beginning; nil: nothing
	Fails string      // what can't be synced; "": nothing
	Did   []string
}

// NewSyncs returns one for the file at path.
func NewSyncs(t *testing.T, path string) *Syncs {
	t.Helper()
	d := &Syncs{t: t, path: path}
	if info, err := os.Stat(path); err == nil {
		d.Was = info
	}
	return d
}

// Sync stands in for (*os.File).Sync.
func (d *Syncs) Sync(f *os.File) error {
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
	case d.Was != nil && os.SameFile(there, d.Was):
		what += ", old file"
	default:
		what += ", new file"
	}
	if err := f.Sync(); err != nil {
		d.t.Error(err)
	}
	d.Did = append(d.Did, what)
	if what == d.Fails {
		return syscall.EIO
	}
	return nil
}

// Want fails the test if not these were synced, in this order.
func (d *Syncs) Want(what ...string) {
	d.t.Helper()
	if !slices.Equal(d.Did, what) {
		d.t.Errorf("synced %q, want %q", d.Did, what)
	}
}
