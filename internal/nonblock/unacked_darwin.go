package nonblock

import (
	"net"
	"time"
)

// connDropTime is TCP_RXT_CONNDROPTIME of netinet/tcp.h, which package syscall lacks.
const connDropTime = 0x80

// BoundUnacked has nc fail once the other side has not acknowledged what was written
// for so long. It reports false where that can't be had.
func BoundUnacked(nc net.Conn, wait time.Duration) bool {
	return setTCP(nc, connDropTime, int(wait.Seconds()))
}
