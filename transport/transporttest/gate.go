package transporttest

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// gate lets the connections of clients in.
type gate struct {
	net.Listener
	places chan struct{} // nil: as many as come
	closed chan struct{}
	once   sync.Once
	silent time.Duration

	over  chan struct{} // closed when all are cut
	mu    sync.Mutex
	conns map[*entry]bool // nil once they are cut
}

func newGate(l net.Listener, c conduct) *gate {
	g := &gate{Listener: l, closed: make(chan struct{}), over: make(chan struct{}), silent: c.silent, conns: map[*entry]bool{}}
	if c.room > 0 {
		g.places = make(chan struct{}, c.room)
	}
	return g
}

func (g *gate) Accept() (net.Conn, error) {
	if g.places != nil {
		select {
		case g.places <- struct{}{}:
		case <-g.closed:
			return nil, net.ErrClosed
		}
	}
	conn, err := g.Listener.Accept()
	if err != nil {
		return nil, err
	}
	e := &entry{Conn: conn, gate: g, since: time.Now(), abort: make(chan struct{}, 1)}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.conns == nil {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	g.conns[e] = true
	return e, nil
}

func (g *gate) Close() error {
	g.once.Do(func() { close(g.closed) })
	return g.Listener.Close()
}

// cut closes all connections. None gets in later.
func (g *gate) cut() {
	g.mu.Lock()
	conns := g.conns
	g.conns = nil
	g.mu.Unlock()
	close(g.over)
	for e := range conns {
		_ = e.Conn.Close()
	}
}

// entry is the connection of a client.
type entry struct {
	net.Conn
	gate  *gate
	since time.Time
	abort chan struct{} // of a Read
	once  sync.Once
}

// mute reports whether nothing is carried any more.
func (e *entry) mute() bool {
	return e.gate.silent > 0 && time.Since(e.since) >= e.gate.silent
}

func (e *entry) Read(p []byte) (int, error) {
	for {
		n, err := e.Conn.Read(p)
		if !e.mute() {
			return n, err
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) { // the end, of which the server hears as little
			select {
			case <-e.gate.over:
			case <-e.abort:
				err = os.ErrDeadlineExceeded
			}
		}
		if err != nil {
			return 0, err
		}
	}
}

// SetReadDeadline ends a Read that waits, too, where the deadline has passed: so net/http
// takes its own Read back.
func (e *entry) SetReadDeadline(t time.Time) error {
	if !t.IsZero() && !t.After(time.Now()) {
		select {
		case e.abort <- struct{}{}:
		default:
		}
	}
	return e.Conn.SetReadDeadline(t)
}

func (e *entry) Write(p []byte) (int, error) {
	if e.mute() {
		return len(p), nil
	}
	return e.Conn.Write(p)
}

func (e *entry) Close() error {
	if e.mute() {
		return nil // the client does not hear of it
	}
	err := e.Conn.Close()
	e.once.Do(func() {
		e.gate.mu.Lock()
		delete(e.gate.conns, e)
		e.gate.mu.Unlock()
		if e.gate.places != nil {
			<-e.gate.places
		}
	})
	return err
}
