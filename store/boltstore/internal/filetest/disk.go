package filetest

import (
	"io/fs"
	"reflect"
	"sync/atomic"
	"syscall"
	"unsafe"

	bolt "go.etcd.io/bbolt"
)

// WriteAt replaces the one function through which bbolt writes pages, by what wrap
// makes of it.
func WriteAt(db *bolt.DB, wrap func(inner func(b []byte, at int64) (int, error)) func(b []byte, at int64) (int, error)) {
	ops := reflect.ValueOf(db).Elem().FieldByName("ops").FieldByName("writeAt")
	write := (*func(b []byte, at int64) (int, error))(unsafe.Pointer(ops.UnsafeAddr()))
	*write = wrap(*write)
}

// Full is a disk that can be full. The zero value is not.
type Full struct {
	room atomic.Int64 // writes that it takes before it is full, less 1; 0: any number
	With syscall.Errno
	Half bool // it has taken a half of what it has no room for
}

// After has it take so many writes more.
func (d *Full) After(writes int) { d.room.Store(int64(writes) + 1) }

// Free has it take any number.
func (d *Full) Free() { d.room.Store(0) }

// Watch has what bbolt writes go to the disk.
func (d *Full) Watch(db *bolt.DB) {
	WriteAt(db, func(inner func([]byte, int64) (int, error)) func([]byte, int64) (int, error) {
		return func(b []byte, at int64) (int, error) {
			if n := d.room.Load(); n > 1 {
				d.room.Store(n - 1)
			} else if n == 1 {
				n := 0
				if d.Half {
					n, _ = inner(b[:len(b)/2], at)
				}
				return n, &fs.PathError{Op: "write", Path: db.Path(), Err: d.With}
			}
			return inner(b, at)
		}
	})
}

// Room is what the store looks for while the disk is full.
func (d *Full) Room(int) error {
	if d.room.Load() == 0 {
		return nil
	}
	return d.With
}
