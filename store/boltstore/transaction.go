package boltstore

import (
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// bbolt's own View and Update are not used on a file that was there before. At a
// panic Update looks for free pages again, in a goroutine of its own: if it was a
// page that panicked, that one panics too, where nobody can recover. And a panic
// at the first pages leaves a lock of bbolt's locked for ever.

// errLost is what the first pages of a file are that could not be read once.
var errLost = fmt.Errorf("%w: its first pages could not be read", ErrDamaged)

// writeTx commits what do writes. After a panic the transaction is abandoned as it
// stands, with the lock that it holds: nothing can be written any more.
func (s *Store) writeTx(do func(tx *bolt.Tx) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.stuck = true
			err = fmt.Errorf("%w: %v", ErrDamaged, p)
		}
	}()
	if s.lost.Load() {
		return errLost
	}
	tx, err := s.db.Begin(true)
	if err != nil {
		return err
	}
	if err := do(tx); err != nil {
		_ = tx.Rollback() // of a transaction that was not committed: it reads no pages
		return err
	}
	return tx.Commit()
}

// readTx calls do with a transaction that reads.
func (s *Store) readTx(do func(tx *bolt.Tx) error) error {
	tx, err := s.snapshot()
	if err != nil {
		return err
	}
	defer s.leave(tx)
	return do(tx)
}

// snapshot begins a transaction that reads. The caller has to leave it.
func (s *Store) snapshot() (tx *bolt.Tx, err error) {
	if s.lost.Load() {
		return nil, errLost
	}
	begun := false
	defer func() {
		if !begun { // a fault
			s.lost.Store(true)
		}
	}()
	tx, err = s.db.Begin(false)
	begun = true
	return tx, err
}

// leave ends a transaction that reads.
func (s *Store) leave(tx *bolt.Tx) {
	if !s.lost.Load() {
		_ = tx.Rollback()
	}
}

// closeBolt lets go of the file. Nobody may use it any more.
func (s *Store) closeBolt() error {
	if s.stuck || s.lost.Load() {
		return abandon(s.file) // db.Close would wait for the locks for ever
	}
	return s.db.Close()
}
