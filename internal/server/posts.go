package server

import (
	"errors"
	"net/http"
	"strconv"
	"sync"

	"github.com/go-chime/chime/internal/clientsocket"
	"github.com/go-chime/chime/internal/stats"
)

// bring reads the body of a POST of c, which has paid for that before, and calls take with
// it: for one POST with a secret at a time. Of what is to come again no more is read.
func (s *Server) bring(b *body, c *clientsocket.ClientSocket, secret string, take func([]byte)) *refusal {
	refused := s.brought(b, c, secret, take)
	if refused != nil && refused.retry > 0 {
		_ = b.giveUp()
	}
	return refused
}

func (s *Server) brought(b *body, c *clientsocket.ClientSocket, secret string, take func([]byte)) *refusal {
	most, fits := b.most(s.limits.BatchBytes)
	if !fits {
		return s.tooLarge(c)
	}
	if wait := c.Pay(most); wait > 0 {
		c.Heard(secret) // it has to wait, but is there
		return &refusal{http.StatusTooManyRequests, "too many bytes", wait}
	}
	// What is refused as the second one has been sent, too, and stays paid for.
	this, only := s.posts.begin(secret, b.giveUp)
	if !only {
		return s.second()
	}
	defer s.posts.end(secret, this)
	// Read before the lock: a slow body must not hold up other POSTs.
	data, err := b.read(s.limits.BatchBytes)
	c.Repay(most - len(data))
	switch {
	case !s.posts.come(this):
		return s.second()
	case errors.Is(err, errTooMuch):
		return s.tooLarge(c)
	case err != nil:
		return unreadable
	}
	take(data)
	return nil
}

// second refuses a POST beside another with the same secret.
func (s *Server) second() *refusal {
	s.stats.Refusals.Add(stats.RefusedSecond)
	return busy
}

// tooLarge refuses a POST that is larger than a batch may be.
func (s *Server) tooLarge(c *clientsocket.ClientSocket) *refusal {
	c.Malformed()
	return &refusal{status: http.StatusRequestEntityTooLarge, reason: "batch is over " + strconv.Itoa(s.limits.BatchBytes) + " bytes"}
}

// posts are those that are being read or taken, by their secret. A client has one under
// way at a time, so that its frames arrive in order. So of two whose bodies have yet to
// come the later one goes on: the other is stuck on a connection that its client has
// given up, or is one of many that would all be kept. Beside one that has come, another
// is refused.
type posts struct {
	mu   sync.Mutex // guards what follows, and the posts
	busy map[string]*post
}

// post is one of them.
type post struct {
	cut  func() error // has the reading of the body end; nil once that has come
	over bool         // a later one goes on
}

// begin reports whether a POST may be read, and returns what end needs. Cut ends the
// reading of its body; if it can't, that error says so, and later ones are refused.
func (p *posts) begin(secret string, cut func() error) (*post, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if before := p.busy[secret]; before != nil {
		if before.cut == nil || before.cut() != nil {
			return nil, false
		}
		before.over = true
	}
	if p.busy == nil {
		p.busy = map[string]*post{}
	}
	this := &post{cut: cut}
	p.busy[secret] = this
	return this, true
}

// come takes note that the body has come, or never will, and reports whether the POST
// goes on.
func (p *posts) come(this *post) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	this.cut = nil
	return !this.over
}

// end must be called before the handler returns: from then on nothing can be cut.
func (p *posts) end(secret string, this *post) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy[secret] == this {
		delete(p.busy, secret)
	}
}
