//go:build linux || darwin

package nonblock

import "net"

// unsent is how many bytes the kernel takes of what it can't send yet.
const unsent = 64 << 10

// BoundUnsent has the kernel take no more than 64 KiB of what it can't send yet, so that
// a write to a peer that reads slowly gets on with each 32 KiB that are read. Without it
// the kernel takes megabytes, and then nothing until a third of that was read: which
// looks, for a while, like a peer that does not read. It reports false where that can't
// be had.
func BoundUnsent(nc net.Conn) bool { return setTCP(nc, notSentLowat, unsent) }
