package clientsocket

import (
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/go-chime/chime/transport"
)

var (
	// ErrDraining refuses new client sockets once the server drains.
	ErrDraining = errors.New("shutting down")
	// ErrIdentityFull refuses one more of an identity, or of an address, that has as many
	// as it may.
	ErrIdentityFull = errors.New("too many client sockets")
	// ErrFull refuses one more when there are as many as there may be.
	ErrFull = errors.New("the server has as many clients as it takes")
)

// Registry knows the client sockets that have not ended, and by which secret each
// may be found. It never looks into one: only the client socket knows whether a
// secret is still good. Its lock is never held together with theirs.
type Registry struct {
	mu       sync.RWMutex // guards what follows
	clients  map[*ClientSocket]struct{}
	secrets  map[string]*ClientSocket
	waited   map[string]*ClientSocket // those that are, or were, polled, by the name that others wait for
	named    map[string]int32         // how many client sockets an identity has
	strange  map[string]int32         // and those of an address that are anonymous, where they are counted
	from     map[*ClientSocket]string // which address that is
	draining bool

	most, mostNamed, mostStrange int // in all, of an identity, of an address; negative: no bound
}

func newRegistry(l transport.Limits) Registry {
	return Registry{
		clients: map[*ClientSocket]struct{}{}, secrets: map[string]*ClientSocket{}, waited: map[string]*ClientSocket{},
		named: map[string]int32{}, strange: map[string]int32{}, from: map[*ClientSocket]string{},
		most: l.ClientSockets, mostNamed: l.IdentitySockets, mostStrange: l.AddressSockets,
	}
}

// CountsAddresses reports whether anonymous clients are counted by their address.
func (r *Registry) CountsAddresses() bool { return r.mostStrange >= 0 }

// Room returns the error that Open would have for one more of an identity, or of an
// address if that is "". Open asks again: others may have come meanwhile.
func (r *Registry) Room(identity, address string) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.room(identity, address)
}

// room is Room. r.mu is held.
func (r *Registry) room(identity, address string) error {
	count, most, name := r.account(identity, address)
	switch {
	case r.draining:
		return ErrDraining
	case r.most >= 0 && len(r.clients) >= r.most:
		return ErrFull
	case name != "" && most >= 0 && int(count[name]) >= most:
		return ErrIdentityFull
	}
	return nil
}

// account is where a client socket is counted, how many there may be there, and its name
// there: "" is nowhere. r.mu is held.
func (r *Registry) account(identity, address string) (count map[string]int32, most int, name string) {
	if identity != "" {
		return r.named, r.mostNamed, identity
	}
	return r.strange, r.mostStrange, address
}

// add makes c known, under secret if it has one. If c is anonymous it is counted at the
// address, unless that is "".
func (r *Registry) add(c *ClientSocket, secret, address string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.room(c.who, address); err != nil {
		return err
	}
	if count, _, name := r.account(c.who, address); name != "" {
		count[name]++
		if c.who == "" {
			r.from[c] = address
		}
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
	if count, _, name := r.account(c.who, r.from[c]); known && name != "" {
		if count[name]--; count[name] == 0 {
			delete(count, name)
		}
	}
	delete(r.from, c)
	delete(r.clients, c)
	for _, secret := range secrets {
		delete(r.secrets, secret)
	}
	if len(r.waited) > 0 {
		delete(r.waited, c.clients.waitName(c))
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

// Drain refuses new client sockets from now on, and returns the present ones, in no order.
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
