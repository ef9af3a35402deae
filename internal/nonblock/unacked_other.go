//go:build !linux && !darwin

package nonblock

import (
	"net"
	"time"
)

// BoundUnacked returns false: the system decides how long it sends again.
func BoundUnacked(net.Conn, time.Duration) bool { return false }
