package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// Absent returns an error if there is anything at path.
func Absent(path string) error {
	_, err := os.Lstat(path)
	switch {
	case err == nil:
		return &FileError{path, fs.ErrExist, "give the path of a file that is not there yet"}
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return Explain(path, err)
}

// Replace has fill write a file beside path and then puts that in its place. It
// is on the disk before it has the name, and the name when Replace returns.
func Replace(path string, mode os.FileMode, sync func(*os.File) error, fill func(name string) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*")
	if err != nil {
		return Explain(path, err)
	}
	name := f.Name()
	defer func() { _ = os.Remove(name) }() // it has another name if all went well
	if err = fill(name); err == nil {
		err = errors.Join(f.Chmod(mode), sync(f))
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(name, path)
	}
	if err != nil {
		return ofTheFile(path, name, err)
	}
	return SyncDir(path, sync)
}

// SyncDir makes sure that the name of a new file is on the disk, too.
func SyncDir(path string, sync func(*os.File) error) error {
	if runtime.GOOS == "windows" { // a directory can't be opened there
		return nil
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return Explain(path, err)
	}
	defer func() { _ = d.Close() }()
	return Explain(path, sync(d))
}
