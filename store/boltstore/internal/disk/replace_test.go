package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// An error names the file that was asked for: the one beside it has a name that nobody
// has given, and is not there any more.
func TestErrorsNameTheFileThatWasAskedFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "chime.db")
	f, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	full := func(name string) error {
		return Explain(name, &fs.PathError{Op: "write", Path: name, Err: syscall.ENOSPC})
	}
	_, copying := f.Copy(func(*bolt.Tx) error { return syscall.ENOSPC })
	aDirectory := t.TempDir()
	nowhere := filepath.Join(t.TempDir(), "nowhere", "chime.db")
	for name, c := range map[string]struct {
		err    error
		path   string
		remedy string
	}{
		"filling":  {Replace(path, FileMode, (*os.File).Sync, full), path, "make room"},
		"syncing":  {Replace(path, FileMode, func(*os.File) error { return syscall.ENOSPC }, func(string) error { return nil }), path, "make room"},
		"copying":  {copying, path, "make room"},
		"renaming": {Replace(aDirectory, FileMode, (*os.File).Sync, func(string) error { return nil }), aDirectory, ""},
		"making":   {Replace(nowhere, FileMode, (*os.File).Sync, full), nowhere, "create the directory"},
	} {
		var e *FileError
		if !errors.As(c.err, &e) || e.Path != c.path || !strings.Contains(e.Remedy, c.remedy) || strings.Count(c.err.Error(), filepath.Base(c.path)) != 1 {
			t.Errorf("%s: got %v, want it of %s once, and a remedy with %q", name, c.err, c.path, c.remedy)
		}
	}
	if left, _ := filepath.Glob(path + ".*"); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestRoomLeavesNothingBehind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "chime.db")
	f, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := f.Room(1 << 20); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(path + ".*"); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	var e *FileError
	if err := f.Room(1 << 20); !errors.As(err, &e) || e.Path != path {
		t.Errorf("without its directory: got %v, want an error of %s", err, path)
	}
}
