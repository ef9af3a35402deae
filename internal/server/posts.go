package server

import "sync"

// posts are the secrets with which a POST is being read or taken. A client has one under
// way at a time, so that its frames arrive in order; a second one with the same secret
// is refused at once, before anything of it is kept. It is by secret, not by client: a
// body that is stuck on a network that has gone must not hold up the POST by which the
// client goes on with another connection.
type posts struct {
	mu   sync.Mutex // guards busy
	busy map[string]struct{}
}

// begin reports whether no other POST has the secret. If so, end must follow.
func (p *posts) begin(secret string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, busy := p.busy[secret]; busy {
		return false
	}
	if p.busy == nil {
		p.busy = map[string]struct{}{}
	}
	p.busy[secret] = struct{}{}
	return true
}

func (p *posts) end(secret string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.busy, secret)
}
