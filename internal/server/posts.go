package server

import "sync"

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
