package chaos

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/go-chime/chime/internal/need"
)

// way is how one process reaches another, and can be cut.
type way struct {
	to       string
	listener net.Listener
	pumps    sync.WaitGroup

	mu      sync.Mutex // guards what follows
	changed sync.Cond
	state   state
	conns   map[*net.TCPConn]bool
}

// state is what becomes of bytes on a way.
type state int

const (
	passing state = iota
	hole          // they stop, and come when it is healed
	severed       // connections are reset, and new ones too
	closed        // for good
)

func (s state) String() string { return [...]string{"passing", "a hole", "severed", "closed"}[s] }

func newWay(t *testing.T, to string) *way {
	t.Helper()
	l, err := net.Listen("tcp", need.Address())
	if err != nil {
		t.Fatal(err)
	}
	w := &way{to: to, listener: l, conns: map[*net.TCPConn]bool{}}
	w.changed.L = &w.mu
	w.pumps.Go(w.accept)
	return w
}

func (w *way) address() string { return w.listener.Addr().String() }

func (w *way) accept() {
	for {
		conn, err := w.listener.Accept()
		if err != nil {
			return
		}
		w.pumps.Go(func() { w.begin(conn.(*net.TCPConn)) })
	}
}

// begin carries what comes by a connection.
func (w *way) begin(near *net.TCPConn) {
	defer w.end(near)
	if !w.passes() {
		return
	}
	conn, err := net.DialTimeout("tcp", w.to, 2*time.Second)
	if err != nil {
		return
	}
	far := conn.(*net.TCPConn)
	defer w.end(far)
	if !w.add(near, far) {
		return
	}
	w.pumps.Go(func() {
		w.carry(near, far)
		w.end(far)
		w.end(near)
	})
	w.carry(far, near)
}

func (w *way) carry(to, from net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if !w.passes() {
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// passes waits as long as the way is a hole, and reports whether anything passes.
func (w *way) passes() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.state == hole {
		w.changed.Wait()
	}
	return w.state == passing
}

// add reports whether the way is open to connections.
func (w *way) add(conns ...*net.TCPConn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range conns {
		w.conns[c] = true
	}
	return w.state == passing || w.state == hole
}

// end closes a connection. One that is severed is reset.
func (w *way) end(c *net.TCPConn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.state == severed {
		_ = c.SetLinger(0)
	}
	_ = c.Close()
	delete(w.conns, c)
}

// be changes the state of the way.
func (w *way) be(s state) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state = s
	w.changed.Broadcast()
	if s == passing || s == hole {
		return
	}
	for c := range w.conns {
		_ = c.SetLinger(0)
		_ = c.Close()
	}
}

func (w *way) close() {
	_ = w.listener.Close()
	w.be(closed)
	w.pumps.Wait()
}
