package nonblock

import "errors"

// ErrNoSocket says that a connection can't be written to without waiting.
var ErrNoSocket = errors.New("no socket")
