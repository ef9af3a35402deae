package transport

import "time"

// Identity is who a client is. ID and Value are pinned when the client socket
// opens.
type Identity struct {
	ID      string    // names the user: Disconnect takes it; "" is anonymous
	Value   any       // whatever the application wants to find in its channels
	Expires time.Time // when the client socket ends, as WithConnect has said last; zero is never. An earlier time than before may be seen a heartbeat late
}

// RefusedError is an error of WithConnect that the client may read.
type RefusedError struct {
	Status int    // HTTP: 401, 403, 429 …; what is neither 4xx nor 5xx becomes 403
	Reason string // for the client
}

func (e *RefusedError) Error() string { return e.Reason }
