//go:build !linux && !darwin

package nonblock

import "net"

// BoundUnsent returns false: the system decides how much it takes.
func BoundUnsent(net.Conn) bool { return false }
