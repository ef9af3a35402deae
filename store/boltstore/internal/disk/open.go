// Package disk opens a bbolt file on a disk that may fail, and reads and writes
// it without ending the process: a page that can't be read, or is another one, is
// an error of the call that meets it. It knows nothing of what is in the file.
//
//	f, err := disk.Open(path, disk.Options{})
//	err = f.Update(func(tx *bolt.Tx) error { … })
//
// An error names the file, what is wrong with it and what to do: see [FileError].
package disk

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"os"
	"runtime"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

const (
	lockPatience = time.Second // a process that is just ending needs a moment

	// FileMode of a new file: what people said is nobody else's business.
	FileMode = 0o600

	// mapped is how much of the file is mapped from the start. bbolt waits for
	// all readers whenever it maps more, and a backup is a long one.
	mapped = 1 << 30
	// allocated is by how much the file grows, beyond mapped or not.
	allocated = 4 << 20
)

// Options say how to open a file. The zero value is for reading and writing.
type Options struct {
	ReadOnly bool

	// OpenFile stands in for os.OpenFile in tests.
	OpenFile func(name string, flag int, mode os.FileMode) (*os.File, error)
}

// Open opens the file at path under its lock and, unless it is ReadOnly, makes
// it if there is none. Pages that bbolt would read where nobody can recover from
// what it finds are checked before: the list of free pages in a file that
// [File.UpdateLast] has left, else all pages. ReadOnly checks all in any case.
func Open(path string, o Options) (*File, error) {
	f, err := open(path, o)
	if o.ReadOnly && errors.Is(err, fs.ErrPermission) {
		return nil, &FileError{path, withoutPath(err, path), "let this user read the file"}
	}
	return f, Explain(path, err)
}

func open(path string, o Options) (*File, error) {
	info, err := os.Stat(path)
	nothing := errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0
	switch {
	case nothing && o.ReadOnly:
		return nil, &FileError{path, withoutPath(cmp.Or(err, ErrForeign), path), "give the path of a chime history"}
	case nothing:
		return openBolt(path, o, false)
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, syscall.EISDIR
	}
	f, err := openBolt(path, o, true) // its lock keeps writers away
	if err != nil {
		if raw, openErr := os.Open(path); openErr == nil && !errors.Is(err, berrors.ErrTimeout) {
			defer func() { _ = raw.Close() }()
			err = cmp.Or(checkPages(raw, info.Size(), true), err) // it says more
		}
		return nil, err
	}
	if info, err = f.file.Stat(); err == nil { // as it is now that it is locked
		err = checkPages(f.file, info.Size(), o.ReadOnly)
	}
	if err == nil && o.ReadOnly {
		return f, nil
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return openBolt(path, o, false)
}

// openBolt opens the file with bbolt, which panics at files that are damaged;
// the lock must not outlive that.
func openBolt(path string, o Options, readOnly bool) (opened *File, err error) {
	f := &File{path: path}
	defer func() {
		if p := recover(); p != nil {
			_ = abandon(f.file)
			opened, err = nil, fmt.Errorf("%w: %v", ErrDamaged, p)
		}
	}()
	defer noFault()()
	openFile := o.OpenFile
	if openFile == nil {
		openFile = os.OpenFile
	}
	options := &bolt.Options{
		Timeout: lockPatience, ReadOnly: readOnly, NoStatistics: true,
		// The free pages of a file from which much was deleted are many. Written down
		// with each commit they would cost more than what is committed; UpdateLast does.
		NoFreelistSync: true, FreelistType: bolt.FreelistMapType,
		OpenFile: func(name string, flag int, mode os.FileMode) (_ *os.File, err error) {
			f.file, err = openFile(name, flag, mode)
			return f.file, err
		},
	}
	if bits.UintSize == 64 && runtime.GOOS != "windows" { // there the file gets as large
		options.InitialMmapSize = mapped
	}
	if f.db, err = bolt.Open(path, FileMode, options); err != nil {
		return nil, err
	}
	f.db.AllocSize = allocated
	// The lock is that of the file which was there when the wait for it began. Another
	// may have been put in its place; what goes into this one is lost.
	locked, err := f.file.Stat()
	if err == nil {
		if there, statErr := os.Stat(path); statErr != nil || !os.SameFile(locked, there) {
			err = ErrReplaced
		}
	}
	if err != nil {
		_ = f.db.Close()
		return nil, err
	}
	return f, nil
}
