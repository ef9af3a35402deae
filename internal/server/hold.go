package server

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// Hold keeps an http.Server from being done with its Shutdown. Net/http waits for
// requests that are under way and for nothing else, so that is what it is given: a
// listener in memory with one connection, and on that one request whose body does not
// come before Release. The request is OPTIONS *, which net/http answers itself: no
// handler sees it.
type Hold struct {
	closed   func()        // what to do when srv is closed before Release
	accepted chan struct{} // has one token: the connection is accepted once
	begun    signal        // the request is under way
	shut     signal        // the listener is closed: by Shutdown or Close
	released signal
	over     signal // the connection is closed
	unread   string // of the request; only the connection's reader uses it
}

// signal is a channel that is closed once.
type signal struct {
	once sync.Once
	c    chan struct{}
}

func newSignal() signal { return signal{c: make(chan struct{})} }

func (s *signal) set() { s.once.Do(func() { close(s.c) }) }

func (s *signal) isSet() bool {
	select {
	case <-s.c:
		return true
	default:
		return false
	}
}

// NewHold holds srv from the moment it serves. Closed is called if srv is closed
// before Release. The hooks of srv do not see the connection.
func NewHold(srv *http.Server, closed func()) *Hold {
	h := &Hold{
		closed: closed, accepted: make(chan struct{}, 1),
		begun: newSignal(), shut: newSignal(), released: newSignal(), over: newSignal(),
		unread: "OPTIONS * HTTP/1.1\r\nHost: hold.invalid\r\nContent-Length: 1\r\n\r\n",
	}
	h.accepted <- struct{}{}
	if f := srv.ConnContext; f != nil {
		srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
			if _, ours := c.(holdConn); ours {
				return ctx
			}
			return f(ctx, c)
		}
	}
	if f := srv.ConnState; f != nil {
		srv.ConnState = func(c net.Conn, state http.ConnState) {
			if _, ours := c.(holdConn); !ours {
				f(c, state)
			}
		}
	}
	var serving sync.Once
	base := srv.BaseContext
	srv.BaseContext = func(l net.Listener) context.Context {
		if _, ours := l.(holdListener); ours {
			return context.Background()
		}
		// Not before: whichever serves first decides whether srv speaks HTTP/2.
		serving.Do(func() {
			go func() { // ends with the Shutdown or the Close of srv
				_ = srv.Serve(holdListener{h})
				h.begun.set()
			}()
			<-h.begun.c
		})
		if base == nil {
			return context.Background()
		}
		return base(l)
	}
	return h
}

// Release lets Shutdown be done, as far as it is for h.
func (h *Hold) Release() { h.released.set() }

type holdListener struct{ h *Hold }

// Accept implements net.Listener.
func (l holdListener) Accept() (net.Conn, error) {
	select {
	case <-l.h.accepted:
		return holdConn(l), nil
	case <-l.h.shut.c:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l holdListener) Close() error {
	l.h.shut.set()
	return nil
}

// Addr implements net.Listener.
func (holdListener) Addr() net.Addr { return holdAddr{} }

// holdConn is the connection. What is written to it is dropped.
type holdConn struct{ h *Hold }

// Read implements net.Conn.
func (c holdConn) Read(p []byte) (int, error) {
	if n := copy(p, c.h.unread); n > 0 {
		c.h.unread = c.h.unread[n:]
		return n, nil
	}
	c.h.begun.set() // not before: a request that is not begun does not hold up a Shutdown
	select {
	case <-c.h.released.c:
	case <-c.h.over.c:
	}
	return 0, io.EOF
}

// Write implements net.Conn.
func (holdConn) Write(p []byte) (int, error) { return len(p), nil }

// Close implements net.Conn.
func (c holdConn) Close() error {
	c.h.over.set()
	c.h.begun.set() // never, in this case
	// If the listener is open, srv serves on: it has refused the request.
	if c.h.shut.isSet() && !c.h.released.isSet() {
		c.h.closed()
	}
	return nil
}

// LocalAddr implements net.Conn.
func (holdConn) LocalAddr() net.Addr { return holdAddr{} }

// RemoteAddr implements net.Conn.
func (holdConn) RemoteAddr() net.Addr { return holdAddr{} }

// SetDeadline implements net.Conn: the request takes as long as it takes.
func (holdConn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (holdConn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (holdConn) SetWriteDeadline(time.Time) error { return nil }

type holdAddr struct{}

// Network implements net.Addr.
func (holdAddr) Network() string { return "memory" }

// String implements net.Addr.
func (holdAddr) String() string { return "hold" }
