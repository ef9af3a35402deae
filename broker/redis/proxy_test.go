package redis

import (
	"io"
	"net"
	"sync"
	"testing"

	"github.com/go-chime/chime/internal/redistest"
)

// proxy is a network between nodes and an engine.
type proxy struct {
	listener net.Listener
	tasks    sync.WaitGroup

	mu      sync.Mutex // guards what follows
	to      string
	links   map[net.Conn]bool // and whether something comes by it
	deaf    bool              // what the engine answers does not come
	refuses bool              // nobody is let through
	closed  bool
	dropped int // answers that did not come
}

func newProxy(t testing.TB, e *redistest.Server) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, to: e.Address(), links: map[net.Conn]bool{}}
	p.tasks.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.cut()
		p.tasks.Wait()
	})
	return p
}

func (p *proxy) url() string { return "redis://" + p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		to := p.to
		p.mu.Unlock()
		server, err := net.Dial("tcp", to)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		if p.closed || p.refuses {
			_ = client.Close()
			_ = server.Close()
		} else {
			p.links[client], p.links[server] = true, true
		}
		p.mu.Unlock()
		p.tasks.Go(func() { p.carry(server, client, false) })
		p.tasks.Go(func() { p.carry(client, server, true) })
	}
}

// carry copies what comes from one side, until either has ended.
func (p *proxy) carry(to, from net.Conn, answers bool) {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, c := range []net.Conn{to, from} {
			_ = c.Close()
			delete(p.links, c)
		}
	}()
	_, _ = io.Copy(writer{p, to, answers}, from)
}

type writer struct {
	proxy   *proxy
	to      net.Conn
	answers bool
}

func (w writer) Write(b []byte) (int, error) {
	w.proxy.mu.Lock()
	drop := w.answers && (w.proxy.deaf || !w.proxy.links[w.to])
	if drop {
		w.proxy.dropped++
	}
	w.proxy.mu.Unlock()
	if drop {
		return len(b), nil
	}
	return w.to.Write(b)
}

// deafen has answers of the engine not come, or come again.
func (p *proxy) deafen(deaf bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deaf, p.dropped = deaf, 0
}

// lead has new connections be to another engine.
func (p *proxy) lead(e *redistest.Server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to = e.Address()
}

// refuse has new connections be ended at once, or not any more.
func (p *proxy) refuse(refuses bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuses = refuses
}

// freeze has nothing come any more by the connections that there are.
func (p *proxy) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.links {
		p.links[c] = false
	}
}

// cut ends all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.links {
		_ = c.Close()
	}
}

// unheard is how many answers did not come.
func (p *proxy) unheard() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dropped
}
