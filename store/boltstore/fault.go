package boltstore

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	berrors "go.etcd.io/bbolt/errors"

	"github.com/go-chime/chime/store"
)

var (
	// ErrLocked is wrapped by Open when another process has the file open.
	ErrLocked = errors.New("in use by another process")

	// ErrForeign is wrapped by Open when the file is not a chime history.
	ErrForeign = errors.New("not a chime history")

	// ErrNewer is wrapped by Open when the file was written by a later version.
	ErrNewer = errors.New("written by a newer version of chime")

	// ErrDamaged is wrapped by whatever meets a part of the file that can't be right.
	ErrDamaged = errors.New("damaged")

	// errRecord is of one record of a file that is well otherwise: the others can be read.
	errRecord = fmt.Errorf("%w: the record", ErrDamaged)

	errReplaced = errors.New("replaced by another file while it was opened")
)

// FileError says what is wrong with a file, and what to do about it.
type FileError struct {
	Path   string
	Err    error
	Remedy string
}

func (e *FileError) Error() string { return fmt.Sprintf("%s: %v: %s", e.Path, e.Err, e.Remedy) }

// Unwrap returns what is wrong.
func (e *FileError) Unwrap() error { return e.Err }

// outsideError is an error of somebody's reader or writer: the file is well.
type outsideError struct{ error }

func (e *outsideError) Unwrap() error { return e.error }

var remedies = []struct {
	err    error
	is     error // what it is called here; nil: what it is
	remedy string
}{
	{ErrLocked, nil, "end that process, or give each a file of its own"},
	{berrors.ErrTimeout, ErrLocked, "end that process, or give each a file of its own"},
	{ErrNewer, nil, "use that version, or another file"},
	{ErrForeign, nil, "give the path of a chime history, or of no file at all to begin one"},
	{berrors.ErrInvalid, ErrForeign, "give the path of a chime history, or of no file at all to begin one"},
	{berrors.ErrVersionMismatch, ErrForeign, "give the path of a chime history, or of no file at all to begin one"},
	{errRecord, nil, "check the disk and go back to a backup, or export what can be read and import that into a new file"},
	{ErrDamaged, nil, "check the disk and go back to a backup"}, // what can't be opened can't be exported
	{berrors.ErrChecksum, ErrDamaged, "check the disk and go back to a backup"},
	{errReplaced, nil, "start again"},
	{syscall.ENOSPC, nil, "make room on the disk, then start again"},
	{syscall.EDQUOT, nil, "make room within the quota, then start again"},
	{syscall.EFBIG, nil, "allow larger files, then start again"},
	{syscall.EROFS, nil, "make the file system writable, or use a file elsewhere"},
	{syscall.EISDIR, nil, "give the path of a file"},
	{fs.ErrPermission, nil, "let this user read and write the file and create files in its directory"},
	{fs.ErrNotExist, nil, "create the directory"},
}

// explain names the file in err, and the way out.
func explain(path string, err error) error {
	var known *FileError
	var outside *outsideError
	switch {
	case err == nil || errors.As(err, &known) || errors.As(err, &outside):
		return err
	case errors.Is(err, berrors.ErrDatabaseNotOpen):
		return store.ErrClosed
	case errors.Is(err, errLarge):
		return err
	}
	for _, r := range remedies {
		if !errors.Is(err, r.err) {
			continue
		}
		err = withoutPath(err, path)
		if r.is != nil {
			err = fmt.Errorf("%w (%w)", r.is, err)
		}
		return &FileError{path, err, r.remedy}
	}
	return &FileError{path, err, "check the disk, then start again"}
}

// withoutPath takes from err the path that is said beside it.
func withoutPath(err error, path string) error {
	var at *fs.PathError
	if errors.As(err, &at) && at.Path == path {
		return at.Err
	}
	return err
}
