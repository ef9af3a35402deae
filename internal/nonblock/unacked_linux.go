package nonblock

import (
	"net"
	"time"
)

// userTimeout is TCP_USER_TIMEOUT, which package syscall lacks (RFC 5482; tcp(7)).
const userTimeout = 0x12

// BoundUnacked has nc fail once the other side has not acknowledged, or not made
// room for, what was written for so long. It reports false where that can't be had.
func BoundUnacked(nc net.Conn, wait time.Duration) bool {
	return setTCP(nc, userTimeout, int(wait.Milliseconds()))
}
