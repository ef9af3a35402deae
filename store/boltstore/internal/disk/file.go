package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"syscall"

	bolt "go.etcd.io/bbolt"
)

// File is an open file. There is one constructor, [Open]. Any number of
// goroutines may View it while one updates it.
//
// bbolt's own View and Update are not used: at a panic Update looks for free
// pages again, in a goroutine of its own, and if it was a page that panicked that
// one panics too, where nobody can recover. And a panic at the first pages leaves
// a lock of bbolt's locked for ever.
type File struct {
	path string
	file *os.File // that of db
	db   *bolt.DB

	synced bool // Open has synced what was there

	stuck      atomic.Bool // bbolt panicked while it held the lock of the writer
	noSnapshot atomic.Bool // bbolt panicked while it held the lock that every transaction needs
}

// Path returns where the file is.
func (f *File) Path() string { return f.path }

// View calls do with a transaction that reads.
func (f *File) View(do func(tx *bolt.Tx) error) (err error) {
	defer f.guard(&err)
	defer noFault()()
	tx, err := f.snapshot()
	if err != nil {
		return err
	}
	defer func() {
		if !f.noSnapshot.Load() {
			_ = tx.Rollback()
		}
	}()
	return do(tx)
}

// UpdateLast is Update with a list of the free pages, from which the next Open
// takes them instead of looking at every page. Any Update ends the list.
func (f *File) UpdateLast(do func(tx *bolt.Tx) error) error {
	f.db.NoFreelistSync = false
	defer func() { f.db.NoFreelistSync = true }()
	return f.Update(do)
}

// Update commits what do writes, and returns when it is on the disk. After a panic
// it abandons the transaction as it stands, with the lock that it holds: nothing
// can be written any more.
//
// It returns [ErrNoRoom] if the disk, or a quota, had none for what it wrote. Then the
// file is as it was, and the next Update may succeed.
func (f *File) Update(do func(tx *bolt.Tx) error) (err error) {
	noRoom := false
	defer func() {
		if noRoom {
			err = fmt.Errorf("%w: %w", ErrNoRoom, err)
		}
	}()
	defer f.guard(&err)
	defer noFault()()
	if f.noSnapshot.Load() {
		return errFirstPages
	}
	ended := false
	defer func() {
		if !ended {
			f.stuck.Store(true)
		}
	}()
	tx, err := f.db.Begin(true)
	if err == nil {
		id := tx.ID()
		if err = do(tx); err != nil {
			_ = tx.Rollback() // of a transaction that was not committed: it reads no pages
		} else {
			err = tx.Commit()
			noRoom = refusedWrite(err) && !f.has(id)
		}
	}
	ended = true
	return err
}

// has reports whether the transaction of this number may be in the file, though it failed.
func (f *File) has(id int) bool {
	tx, err := f.snapshot()
	if err != nil {
		return true
	}
	defer func() { _ = tx.Rollback() }()
	return tx.ID() >= id
}

// refusedWrite reports whether err is that of a write for which there was no room. Then
// nothing leads to what was written before it. An error of a sync is another matter,
// whatever it says: the system may take what it could not write for written.
func refusedWrite(err error) bool {
	var at *fs.PathError
	return errors.As(err, &at) && at.Op == "write" && (errors.Is(at.Err, syscall.ENOSPC) || errors.Is(at.Err, syscall.EDQUOT))
}

// Room returns an error as long as the disk has no room for so many bytes: it writes
// them to another file beside this one.
func (f *File) Room(bytes int) error {
	probe, err := os.CreateTemp(filepath.Dir(f.path), filepath.Base(f.path)+".room-*")
	if err != nil {
		return Explain(f.path, err)
	}
	defer Discard(probe)
	_, err = probe.Write(make([]byte, bytes))
	return Explain(f.path, errors.Join(err, probe.Sync()))
}

// snapshot begins a transaction that reads.
func (f *File) snapshot() (tx *bolt.Tx, err error) {
	if f.noSnapshot.Load() {
		return nil, errFirstPages
	}
	begun := false
	defer func() {
		if !begun { // a fault
			f.noSnapshot.Store(true)
		}
	}()
	tx, err = f.db.Begin(false)
	begun = true
	return tx, err
}

// guard makes an error of what is read from the file's memory map and isn't
// there: a page that the disk can't give is a fault, and bbolt panics at what it
// doesn't expect. It also names the file in the error. Use it with defer.
func (f *File) guard(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w: %v", ErrDamaged, p)
	}
	*err = Explain(f.path, *err)
}

// noFault makes faults of this goroutine panics, for guard, until the returned
// function is called.
func noFault() func() {
	old := debug.SetPanicOnFault(true)
	return func() { debug.SetPanicOnFault(old) }
}

// SyncBefore has the disk keep what was there before Open, with sync, unless Open has done that.
func (f *File) SyncBefore(sync func(*os.File) error) error {
	if f.synced {
		return nil
	}
	return Explain(f.path, sync(f.file))
}

// Stat describes the open file, whatever has its name by now.
func (f *File) Stat() (os.FileInfo, error) { return f.file.Stat() }

// Free returns how many bytes of the file are in no use, as of the last Update, and how
// many are in none once all that reads now has ended.
func (f *File) Free() (now, later int64) {
	s := f.db.Stats()
	page := int64(f.db.Info().PageSize)
	return int64(s.FreePageN) * page, int64(s.PendingPageN) * page
}

// Unsynced has the file, which has no name yet, grow in small steps and be written
// without syncs.
func (f *File) Unsynced() {
	f.db.NoSync = true
	f.db.AllocSize = 64 << 10
}

// Bolt returns what is below, for tests.
func (f *File) Bolt() (*bolt.DB, *os.File) { return f.db, f.file }

// Copy copies the file, as of the last commit, to one beside it, and has change
// change the copy. The caller has to [Discard] it.
func (f *File) Copy(change func(tx *bolt.Tx) error) (*os.File, error) {
	to, err := os.CreateTemp(filepath.Dir(f.path), filepath.Base(f.path)+".backup-*")
	if err != nil {
		return nil, Explain(f.path, fmt.Errorf("make room for a copy: %w", err))
	}
	err = f.View(func(tx *bolt.Tx) error {
		_, err := tx.WriteTo(to)
		return err
	})
	if err == nil {
		err = changeFile(to.Name(), change)
	}
	if err == nil {
		_, err = to.Seek(0, io.SeekStart)
	}
	if err != nil {
		Discard(to)
		return nil, ofTheFile(f.path, to.Name(), err)
	}
	return to, nil
}

// changeFile opens the file, which may hold what has come into the original's pages
// since that was opened, and changes it.
func changeFile(path string, change func(tx *bolt.Tx) error) error {
	f, err := Open(path, Options{})
	if err != nil {
		return err
	}
	return errors.Join(f.UpdateLast(change), f.Close())
}

// Discard closes and removes a file.
func Discard(f *os.File) {
	_ = f.Close()
	_ = os.Remove(f.Name())
}

// Close releases the file, when all that was begun has ended. Nobody may use it after that.
func (f *File) Close() error {
	if f.stuck.Load() || f.noSnapshot.Load() {
		return Explain(f.path, abandon(f.file)) // db.Close would wait for the locks for ever
	}
	return Explain(f.path, f.db.Close())
}
