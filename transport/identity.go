package transport

import "time"

// Identity is who a client is. ID and Value are pinned when the client socket
// opens.
type Identity struct {
	ID      string    // names the user: Disconnect takes it; "" is anonymous
	Value   any       // anything, for the handlers of the channels
	Expires time.Time // when the client socket ends, as WithConnect returned last; zero is never. A time earlier than the one before may take effect a heartbeat late
}

// RefusedError is an error of WithConnect that the client may read.
type RefusedError struct {
	Status int    // of HTTP: 401, 403, 429 …; 403 in place of any that is neither 4xx nor 5xx
	Reason string // for the client
}

func (e *RefusedError) Error() string { return e.Reason }
