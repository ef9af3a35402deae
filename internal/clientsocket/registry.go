package clientsocket

import (
	"errors"
	"maps"
	"slices"
	"sync"
)

// ErrDraining refuses new client sockets once the server drains.
var ErrDraining = errors.New("shutting down")

// Registry knows the client sockets that have not ended, and by which secret each
// may be found. It never looks into one: only the client socket knows whether a
// secret is still good. Its lock is never held together with theirs.
type Registry struct {
	mu       sync.RWMutex // guards what follows
	clients  map[*ClientSocket]struct{}
	secrets  map[string]*ClientSocket
	draining bool
}

// add makes c known, under secret if it has one.
func (r *Registry) add(c *ClientSocket, secret string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.draining {
		return ErrDraining
	}
	if secret != "" {
		r.secrets[secret] = c
	}
	r.clients[c] = struct{}{}
	return nil
}

// remove forgets c and its secrets, and reports whether c was known until now.
func (r *Registry) remove(c *ClientSocket, secrets []string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, known := r.clients[c]
	delete(r.clients, c)
	for _, secret := range secrets {
		delete(r.secrets, secret)
	}
	return known
}

func (r *Registry) index(secret string, c *ClientSocket) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.secrets[secret] = c
}

func (r *Registry) unindex(secrets ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, secret := range secrets {
		delete(r.secrets, secret)
	}
}

// Find returns the client socket that a secret may belong to, or nil.
func (r *Registry) Find(secret string) *ClientSocket {
	if secret == "" {
		return nil
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.secrets[secret]
}

// Of returns the client sockets of an identity, detached ones too.
func (r *Registry) Of(identity string) []*ClientSocket {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var list []*ClientSocket
	for c := range r.clients {
		if c.who == identity { // pinned: no lock guards it
			list = append(list, c)
		}
	}
	return list
}

// Drain refuses new client sockets from now on, and returns the present ones.
func (r *Registry) Drain() []*ClientSocket {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.draining = true
	return slices.Collect(maps.Keys(r.clients))
}

// Draining reports whether Drain was called.
func (r *Registry) Draining() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.draining
}

// Len returns the number of client sockets, detached ones included.
func (r *Registry) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.clients)
}
