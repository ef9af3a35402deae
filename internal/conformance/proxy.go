package conformance

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// proxy stands between a check and the server. It passes on bytes, and cuts each
// connection after a number of them. What is on its way then is lost.
type proxy struct {
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	working sync.WaitGroup

	mu     sync.Mutex
	budget func() int64 // bytes that the next connection carries; nil is any number
	cuts   []func()
}

func (p *proxy) connect(ctx context.Context, network, address string) (net.Conn, error) {
	server, err := p.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	near, far := net.Pipe()
	cut := sync.OnceFunc(func() {
		_ = far.Close()
		_ = server.Close()
	})
	left := &atomic.Int64{}
	left.Store(1 << 62)
	p.mu.Lock()
	if p.budget != nil {
		left.Store(p.budget())
	}
	p.cuts = append(p.cuts, cut)
	p.mu.Unlock()
	for _, way := range [][2]net.Conn{{server, far}, {far, server}} {
		p.working.Go(func() {
			defer cut()
			pass(way[0], way[1], left)
		})
	}
	return whole{near}, nil
}

// whole keeps the WebSocket library from taking a message that was cut for one
// that has ended: it does so at io.EOF.
type whole struct{ net.Conn }

func (c whole) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func pass(to, from net.Conn, left *atomic.Int64) {
	buf := make([]byte, 4<<10)
	for {
		n, err := from.Read(buf)
		allowed := min(int64(n), max(left.Add(-int64(n))+int64(n), 0))
		if allowed > 0 { // a pipe hands on an empty write, which its reader does not expect
			if _, failed := to.Write(buf[:allowed]); failed != nil {
				return
			}
		}
		if err != nil || allowed < int64(n) {
			return
		}
	}
}

// cutAfter has each new connection cut after as many bytes as f says.
func (p *proxy) cutAfter(f func() int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.budget = f
}

// close cuts all connections. None may be opened later.
func (p *proxy) close() {
	for _, cut := range p.cuts {
		cut()
	}
	p.working.Wait()
}
