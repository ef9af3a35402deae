package embedded

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"
)

const (
	// normalStart is how long peers may take to begin, one after the other.
	normalStart = time.Minute
	// silence is how long a peer is not said to be away when it is there: it is tried every 1 or 2 s.
	silence = 10 * time.Second
	// refusalPause is between two lines of peers that have another secret: they try each second.
	refusalPause = time.Minute
)

// peers are those that can't be reached, as far as the server says: it says so of each attempt, as
// an error, from the first on.
type peers struct {
	log   *slog.Logger
	began time.Time // of this server

	mu      sync.Mutex // guards the rest
	away    map[string]*absence
	refused time.Time // last told of
	closed  bool
}

// absence is that of one peer.
type absence struct {
	since time.Time
	long  bool // it is in the log
	end   *time.Timer
}

// failed takes note of an attempt. A peer that is away for longer than a start takes is told of
// once, and sooner when all have had the time to start.
func (p *peers) failed(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	peer := addressIn(err)
	a := p.away[peer]
	if a == nil {
		if p.away == nil {
			p.away = map[string]*absence{}
		}
		a = &absence{since: time.Now()}
		a.end = time.AfterFunc(silence, func() { p.came(peer, a) })
		p.away[peer] = a
	}
	a.end.Reset(silence)
	patience := normalStart
	if a.since.Sub(p.began) >= normalStart {
		patience = silence
	}
	if !a.long && time.Since(a.since) >= patience {
		a.long = true
		p.log.Warn("broker/nats/embedded: a peer can't be reached", "peer", peer, "for", time.Since(a.since).Round(time.Second), "error", err)
	}
}

func (p *peers) came(peer string, a *absence) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.away[peer] != a {
		return
	}
	delete(p.away, peer)
	if !a.long { // nobody has been told that it was away
		return
	}
	p.log.Info("broker/nats/embedded: a peer can be reached", "peer", peer, "after", (time.Since(a.since) - silence).Round(time.Second))
}

// refuse takes note that one of two servers has refused the other.
func (p *peers) refuse(says string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || time.Since(p.refused) < refusalPause {
		return
	}
	p.refused = time.Now()
	p.log.Error("broker/nats/embedded: another secret: all nodes need the same", "says", says)
}

// close ends the timers.
func (p *peers) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, a := range p.away {
		a.end.Stop()
	}
}

// addressIn returns what could not be reached.
func addressIn(err error) string {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Addr != nil {
		return op.Addr.String()
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return dns.Name
	}
	return err.Error()
}
