//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package disk

import "os"

// abandon closes the file of a bbolt that can't be closed, and ends its lock.
func abandon(f *os.File) error { return f.Close() }
