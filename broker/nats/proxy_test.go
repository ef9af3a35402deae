package nats_test

import (
	"io"
	"net"
	"sync"
	"testing"
)

// link is a connection to a server that can be cut.
type link struct {
	listener net.Listener
	to       string

	mu    sync.Mutex // guards the rest
	down  bool
	conns map[net.Conn]bool
	wg    sync.WaitGroup
}

func proxy(t *testing.T, to string) *link {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &link{listener: l, to: to, conns: map[net.Conn]bool{}}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *link) address() string { return p.listener.Addr().String() }

func (p *link) accept() {
	for {
		from, err := p.listener.Accept()
		if err != nil {
			return
		}
		to, err := net.Dial("tcp", p.to)
		if err != nil || !p.add(from, to) {
			_ = from.Close()
			if to != nil {
				_ = to.Close()
			}
			continue
		}
		p.wg.Go(func() { p.copy(to, from) })
		p.wg.Go(func() { p.copy(from, to) })
	}
}

func (p *link) add(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		if !p.down {
			p.conns[c] = true
		}
	}
	return !p.down
}

func (p *link) copy(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	_ = to.Close()
	_ = from.Close()
}

// cut ends all connections, and each that comes.
func (p *link) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = true
	for c := range p.conns {
		_ = c.Close()
	}
	clear(p.conns)
}

func (p *link) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = false
}
