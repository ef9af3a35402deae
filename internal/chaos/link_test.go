package chaos

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// network is the way between the clients and the server. Each connection is a link
// with faults of its own, until the network is mended.
type network struct {
	addresses []string      // of the nodes, as a load balancer that knows no sessions has them
	mended    chan struct{} // closed by mend
	working   sync.WaitGroup
	dials     atomic.Uint64
}

// fault is what a link does to the bytes that pass. The zero value is nothing.
type fault struct {
	after   int64         // bytes, of both ways, until the rest takes effect; without swallow, stall and cut it never does
	stall   time.Duration // nothing passes for so long
	swallow time.Duration // what comes is dropped for so long, and then the link breaks
	cut     bool          // it breaks, at any byte
	reset   bool          // and the server is sent a RST, not a FIN

	delay time.Duration // of each piece, either way
	rate  int           // bytes in a second to the client; 0 is any number
	tally *tally        // of these bytes; nil is none
}

// randomFault is that of most links.
func randomFault(d *dice) fault {
	f := fault{after: 200 + int64(d.size(1<<20)), reset: d.one(2)}
	switch d.n(6) {
	case 0: // none
	case 1:
		f.stall, f.cut = d.between(50*time.Millisecond, 1500*time.Millisecond), d.one(2)
	case 2:
		f.swallow = d.between(100*time.Millisecond, time.Second)
	default:
		f.cut = true
	}
	if d.one(4) {
		f.delay = d.between(time.Millisecond, 20*time.Millisecond)
	}
	return f
}

// link is a connection to the server by way of the network.
type link struct {
	fault
	net     *network
	near    net.Conn // the client's end
	far     net.Conn
	server  *net.TCPConn
	passed  atomic.Int64
	stalled atomic.Bool
	broken  chan struct{}
	cutting sync.Once
	due     time.Time // when the last piece to the client is due, at its rate; of one goroutine
}

func (n *network) dial(f fault) (*link, error) {
	server, err := net.DialTimeout("tcp", n.addresses[n.dials.Add(1)%uint64(len(n.addresses))], 10*time.Second)
	if err != nil {
		return nil, err
	}
	l := &link{fault: f, net: n, server: server.(*net.TCPConn), broken: make(chan struct{}), due: time.Now()}
	near, far := net.Pipe()
	l.near, l.far = whole{near}, far
	n.working.Go(func() { l.pass(l.server, l.far, false) })
	n.working.Go(func() { l.pass(l.far, l.server, true) })
	return l, nil
}

// mend makes the network a good one. Links that swallow break.
func (n *network) mend() { close(n.mended) }

// wait waits until all links are cut.
func (n *network) wait() { n.working.Wait() }

// client has one connection, which is the link.
func (l *link) client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return l.near, nil },
	}}
}

// cut breaks the link.
func (l *link) cut() {
	l.cutting.Do(func() {
		close(l.broken)
		if l.reset {
			_ = l.server.SetLinger(0)
		}
		_ = l.server.Close()
		_ = l.far.Close()
	})
}

// pass carries bytes one way until the link breaks.
func (l *link) pass(to, from net.Conn, down bool) {
	defer l.cut()
	piece := 16 << 10
	if l.rate > 0 {
		piece = max(l.rate/20, 512)
	}
	buf := make([]byte, piece)
	for {
		n, err := from.Read(buf)
		if n > 0 && !l.carry(to, buf[:n], down) || err != nil {
			return
		}
	}
}

// carry passes a piece on, with what the link does to it. It reports false when the
// link breaks.
func (l *link) carry(to io.Writer, piece []byte, down bool) bool {
	passed := l.passed.Add(int64(len(piece)))
	if l.isMended() {
		return write(to, piece)
	}
	l.pause(l.delay)
	if down && l.rate > 0 {
		l.keepRate(len(piece))
	}
	if down && l.tally != nil {
		l.tally.add(len(piece))
	}
	beyond := passed - l.after
	if beyond < 0 || l.isMended() {
		return write(to, piece)
	}
	if l.stall > 0 && l.stalled.CompareAndSwap(false, true) {
		l.pause(l.stall)
	}
	if !l.fault.cut && l.swallow == 0 {
		return write(to, piece)
	}
	if keep := int64(len(piece)) - beyond; keep > 0 {
		write(to, piece[:keep])
	}
	l.pause(l.swallow) // the other way does the same with what comes
	return false
}

// keepRate waits until so many bytes more may have passed. What a busy machine has held
// up is made up for: a reader that was to be slow would else be one that stands still.
func (l *link) keepRate(bytes int) {
	if late := time.Now().Add(-madeUp); l.due.Before(late) {
		l.due = late
	}
	l.due = l.due.Add(time.Duration(bytes) * time.Second / time.Duration(l.rate))
	l.pause(time.Until(l.due))
}

// madeUp is how much of the time that a link is late it makes up for.
const madeUp = 2 * time.Second

func (l *link) isMended() bool {
	select {
	case <-l.net.mended:
		return true
	default:
		return false
	}
}

func (l *link) isCut() bool {
	select {
	case <-l.broken:
		return true
	default:
		return false
	}
}

// pause waits, as long as there is a fault.
func (l *link) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.broken:
	case <-l.net.mended:
	}
}

func write(to io.Writer, piece []byte) bool {
	_, err := to.Write(piece)
	return err == nil
}

// whole keeps the WebSocket library from taking a message that was cut off for one
// that has ended: it does so at io.EOF.
type whole struct{ net.Conn }

func (c whole) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
