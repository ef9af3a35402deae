package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	berrors "go.etcd.io/bbolt/errors"

	"github.com/go-chime/chime/store"
)

var (
	// ErrLocked says that another process has the file open.
	ErrLocked = errors.New("in use by another process")

	// ErrForeign says that the file is not a chime history.
	ErrForeign = errors.New("not a chime history")

	// ErrNewer says that a later version of chime wrote the file.
	ErrNewer = errors.New("written by a newer version of chime")

	// ErrOlder says that an earlier version of chime wrote the file, in a format that is no longer read.
	ErrOlder = errors.New("written by an older version of chime")

	// ErrDamaged says that a part of the file can't be right.
	ErrDamaged = errors.New("damaged")

	// ErrRecord is an ErrDamaged of one record: the others can be read.
	ErrRecord = fmt.Errorf("%w: the record", ErrDamaged)

	// ErrNoRoom says that a transaction was not committed, and the file is as it was.
	ErrNoRoom = errors.New("not written")

	// ErrReplaced says that the file has another name by now, or none.
	ErrReplaced = errors.New("replaced by another file while it was opened")

	// errFirstPages says that the first pages of the file could not be read once.
	errFirstPages = fmt.Errorf("%w: its first pages could not be read", ErrDamaged)
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

// OutsideError marks an error that is not the file's, such as one of the caller's writer.
type OutsideError struct{ error }

// NotOfTheFile returns err, unless nil, marked as [OutsideError].
func NotOfTheFile(err error) error {
	if err == nil {
		return nil
	}
	return &OutsideError{err}
}

func (e *OutsideError) Unwrap() error { return e.error }

// GiveHistory is the remedy where a file is only read.
const GiveHistory = "give the path of a chime history"

const (
	givePath   = GiveHistory + ", or of a file that is not there yet to begin one"
	goBack     = "check the disk and go back to a backup"
	endProcess = "end that process, or give each a file of its own"
)

var remedies = []struct {
	err    error
	is     error // what it is called here; nil: what it is
	remedy string
}{
	{store.ErrFull, nil, "allow more, or keep less of each topic"},
	{ErrLocked, nil, endProcess},
	{berrors.ErrTimeout, ErrLocked, endProcess},
	{ErrNewer, nil, "use that version, or another file"},
	{ErrOlder, nil, "export it with that version and import that into a new file, or use another file"},
	{ErrForeign, nil, givePath},
	{berrors.ErrInvalid, ErrForeign, givePath},
	{berrors.ErrVersionMismatch, ErrForeign, givePath},
	{ErrRecord, nil, "check the disk and go back to a backup, or export what can be read and import that into a new file"},
	{ErrDamaged, nil, goBack}, // what can't be opened can't be exported
	{berrors.ErrChecksum, ErrDamaged, goBack},
	{ErrReplaced, nil, "start again"},
	{syscall.ENOSPC, nil, "make room on the disk"},
	{syscall.EDQUOT, nil, "make room within the quota"},
	{syscall.EFBIG, nil, "allow larger files, then start again"},
	{syscall.EROFS, nil, "make the file system writable, or use a file elsewhere"},
	{syscall.EISDIR, nil, "give the path of a file"},
	{fs.ErrPermission, nil, "let this user read and write the file and create files in its directory"},
	{fs.ErrNotExist, nil, "create the directory"},
}

// Explain names the file in err, and the way out.
func Explain(path string, err error) error {
	var known *FileError
	var outside *OutsideError
	if err == nil || errors.As(err, &known) || errors.As(err, &outside) {
		return err
	}
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return store.ErrClosed
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
	return &FileError{path, withoutPath(err, path), "check the disk, then start again"}
}

// withoutPath takes from err the path that is said beside it, and that of a file beside
// that one: nobody knows its name, and it is removed.
func withoutPath(err error, path string) error {
	var at *fs.PathError
	if errors.As(err, &at) && (at.Path == path || strings.HasPrefix(at.Path, path+".")) {
		return at.Err
	}
	if link, ok := errors.AsType[*os.LinkError](err); ok {
		return link.Err
	}
	return err
}

// ofTheFile says of the file at path what err says of the one at beside, which was to
// become it.
func ofTheFile(path, beside string, err error) error {
	var known *FileError
	if errors.As(err, &known) && known.Path == beside {
		return &FileError{path, known.Err, known.Remedy}
	}
	return Explain(path, err)
}
