//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package disk

import (
	"errors"
	"os"
	"syscall"
)

// abandon closes the file of a bbolt that can't be closed. Its lock would outlive
// that: it is the open file's, and the memory map, which stays, holds on to that.
func abandon(f *os.File) error {
	return errors.Join(syscall.Flock(int(f.Fd()), syscall.LOCK_UN), f.Close())
}
