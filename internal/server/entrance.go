package server

import (
	"context"
	"errors"
	"net/http"

	"github.com/go-chime/chime/internal/clientsocket"
	"github.com/go-chime/chime/internal/mono"
	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/internal/wire"
)

// entrance gives those that were admitted a client socket: the one that they had, or another.
type entrance struct {
	clients *clientsocket.Clients
	detach  func(context.Context) context.Context
	stats   *stats.Stats
}

// together makes a connection's line and, unless its caller knows a client
// socket, one in the same object: half the cost of two to the collector.
func together[L any](from caller) (*L, *clientsocket.ClientSocket) {
	if from.former != nil {
		return new(L), nil
	}
	both := new(struct {
		line   L
		client clientsocket.ClientSocket
	})
	return &both.line, &both.client
}

// resume makes connection n a candidate of the client socket that its caller goes on
// with, and reports whether that was possible. From now on it can be closed.
func (e *entrance) resume(n *clientsocket.Connection, line clientsocket.Line, from caller) bool {
	n.Init(line)
	if from.former == nil || !from.former.Resume(n, from.secret) {
		return false
	}
	from.former.Refresh(from.id.Expires)
	e.greeted(line, from)
	return true
}

// enter is resume, where another client socket is opened if that was not possible. Fresh
// is the memory for it, if it is not nil.
func (e *entrance) enter(n *clientsocket.Connection, line clientsocket.Line, fresh *clientsocket.ClientSocket, r *http.Request, from caller) error {
	if e.resume(n, line, from) {
		return nil
	}
	if from.secret != "" {
		e.stats.Resumes.Add(stats.Unknown)
	}
	if fresh == nil {
		fresh = new(clientsocket.ClientSocket)
	}
	err := e.clients.Open(fresh, n, clientsocket.Opening{Identity: from.id, Address: from.from, Dialect: from.speaks, Polled: line.Transport() == stats.LongPoll, Context: e.detach(r.Context())})
	if err == nil {
		e.greeted(line, from)
		return nil
	}
	e.stats.Refusals.Add(refusalOf(err))
	return err
}

// greeted counts how long it took until a connection was entered.
func (e *entrance) greeted(line clientsocket.Line, from caller) {
	e.stats.Opening[line.Transport()].Observe(mono.Now().Sub(from.began))
}

// refusalOf is what an error of Registry.Room is counted as.
func refusalOf(err error) stats.Refusal {
	switch {
	case errors.Is(err, clientsocket.ErrIdentityFull):
		return stats.RefusedIdentity
	case errors.Is(err, clientsocket.ErrFull):
		return stats.RefusedSockets
	}
	return stats.RefusedDraining
}

// parting is how a connection ends whose client socket could not be opened, since others
// came first or the server drains.
func parting(err error) (wire.CloseCode, string) {
	if errors.Is(err, clientsocket.ErrDraining) {
		return wire.CloseDrain, "drain"
	}
	return wire.CloseSlow, err.Error()
}
