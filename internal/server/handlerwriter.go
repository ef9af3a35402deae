package server

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-chime/chime/internal/mono"
)

// handlerWriter is the ResponseWriter of a handler that stays, for as long as it
// does. It knows nothing of what is written.
type handlerWriter struct {
	w    http.ResponseWriter
	rc   *http.ResponseController
	stop chan struct{} // closed to let the handler return
	once sync.Once     // guards the closing of stop
	wait time.Duration // set before that: what net/http still has to write may take so long
	due  atomic.Int64  // mono.Instant: when the present write has to be done; 0 without one
	busy chan struct{} // holds a token while w is written to

	mu       sync.Mutex // guards returned
	returned bool       // the handler has: its writer must not be touched any more
}

func newHandlerWriter(w http.ResponseWriter, rc *http.ResponseController) *handlerWriter {
	return &handlerWriter{w: w, rc: rc, stop: make(chan struct{}), busy: make(chan struct{}, 1)}
}

// write writes all of b, or fails when the bound says so.
func (h *handlerWriter) write(b []byte, writes *writeBound, stuckFor time.Duration) error {
	select {
	case h.busy <- struct{}{}:
	case <-h.stop:
		return net.ErrClosed
	}
	defer func() { <-h.busy }()
	due := writes.arm(stuckFor, h.rc.SetWriteDeadline)
	h.due.Store(int64(due))
	_, err := h.w.Write(b)
	if err == nil {
		err = h.rc.Flush()
	}
	if err != nil {
		if mono.Now() >= due { // HTTP/2 says no more than that the stream is closed
			err = fmt.Errorf("%w: %w", os.ErrDeadlineExceeded, err)
		}
		return err // due stays: the handler may be about to ask why its request has ended
	}
	h.due.Store(0)
	if !writes.bounded() {
		// HTTP/2 resets a stream when its deadline passes, even if nothing is
		// being written then.
		_ = h.rc.SetWriteDeadline(time.Time{})
	}
	return nil
}

// late reports whether a write has missed its deadline.
func (h *handlerWriter) late() bool {
	due := mono.Instant(h.due.Load())
	return due != 0 && mono.Now() >= due
}

// bound sets the deadline of a write that blocks.
func (h *handlerWriter) bound(until time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.returned {
		_ = h.rc.SetWriteDeadline(until)
	}
}

// end lets the handler return. What net/http still has to write may take so long.
func (h *handlerWriter) end(wait time.Duration) {
	h.once.Do(func() {
		h.wait = wait
		close(h.stop)
	})
}

// leave is the handler's last use of its writer: no write may be under way when
// it returns, nor begin later, and the end of the response must not wait for the
// client for ever.
func (h *handlerWriter) leave() {
	h.busy <- struct{}{}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.returned = true
	_ = h.rc.SetWriteDeadline(time.Now().Add(h.wait))
}
