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

	// Known returns an error for a file that is to be left as it is. In others no
	// bucket is in another one. Nil is for files that are known.
	Known func(tx *bolt.Tx) error

	// OpenFile stands in for os.OpenFile in tests, and Sync for (*os.File).Sync.
	OpenFile func(name string, flag int, mode os.FileMode) (*os.File, error)
	Sync     func(*os.File) error
}

// Open opens the file at path under its lock and, unless it is ReadOnly, makes
// it if there is none. Pages that bbolt would read where nobody can recover from
// what it finds are checked before: the list of free pages in a file that
// [File.UpdateLast] has left, else all branches, and what each leaf says of its
// length. ReadOnly checks all pages in any case.
func Open(path string, o Options) (*File, error) {
	if o.OpenFile == nil {
		o.OpenFile = os.OpenFile
	}
	if o.Sync == nil {
		o.Sync = (*os.File).Sync
	}
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
		return nil, &FileError{path, withoutPath(cmp.Or(err, ErrForeign), path), GiveHistory}
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
			_, wrong := checkPages(raw, info.Size(), true)
			err = cmp.Or(wrong, err) // it says more
		}
		return nil, err
	}
	synced := false
	if info, err = f.file.Stat(); err == nil { // as it is now that it is locked
		synced, err = f.prepare(info.Size(), o)
	}
	if err == nil && o.ReadOnly {
		return f, nil
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	f, err = openBolt(path, o, false)
	if err == nil {
		f.synced = synced
	}
	return f, err
}

// prepare checks what bbolt is going to read, and has it find a list of free pages.
// It reports whether all that was in the file was synced for that.
func (f *File) prepare(length int64, o Options) (synced bool, err error) {
	p, err := checkPages(f.file, length, o.ReadOnly)
	if err != nil || o.ReadOnly || p.list != notListed {
		return false, err
	}
	if o.Known != nil {
		if err := f.View(o.Known); err != nil {
			return false, err
		}
	}
	to, err := o.OpenFile(f.path, os.O_RDWR, 0)
	if err != nil {
		return false, err
	}
	defer func() { _ = to.Close() }()
	if !sameFile(f.file, to) {
		return false, ErrReplaced
	}
	return true, p.writeList(to, o.Sync)
}

func sameFile(a, b *os.File) bool {
	is, err := a.Stat()
	other, otherErr := b.Stat()
	return err == nil && otherErr == nil && os.SameFile(is, other)
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
	options := &bolt.Options{
		Timeout: lockPatience, ReadOnly: readOnly,
		// The free pages of a file from which much was deleted are many. Written down
		// with each commit they would cost more than what is committed; UpdateLast does.
		NoFreelistSync: true, FreelistType: bolt.FreelistMapType,
		OpenFile: func(name string, flag int, mode os.FileMode) (_ *os.File, err error) {
			f.file, err = o.OpenFile(name, flag, mode)
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
