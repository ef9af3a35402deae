package chime

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/go-chime/chime/internal/server"
)

// Attach has srv.Shutdown drain the Router: it then begins what Shutdown does, and
// waits for it as long as its context lasts. Without Attach it ends without a word to
// the clients whose connections were taken over from it, which are WebSockets and
// streams on HTTP/1, and waits without end for the streams of HTTP/2. Give its context
// more time than the drain window has, which it can't tell the Router. Srv.Close ends
// all clients at once.
//
// Call it when all fields of srv are set and before srv serves, once for each server
// that has the Router. The first of them that shuts down drains it. Attach wraps
// BaseContext, ConnContext and ConnState of srv, which do not see what it waits for: a
// connection in memory, with a request that is under way for as long as srv serves. An
// httptest.Server would wait for that in its Close: end it with Config.Shutdown.
// Attach panics if srv is nil.
func (rt *Router) Attach(srv *http.Server) {
	if srv == nil {
		panic("chime: Attach: nil: want a server")
	}
	ctx, closed := context.WithCancel(context.Background())
	hold := server.NewHold(srv, func() {
		closed()
		rt.server.Go(func() { rt.drain(ctx) })
	})
	srv.RegisterOnShutdown(func() {
		defer hold.Release()
		rt.drain(ctx)
		for ctx.Err() == nil {
			patient, cancel := context.WithTimeout(ctx, attachedPatience)
			err := rt.wait(patient)
			cancel()
			if err == nil {
				return
			}
			if ctx.Err() == nil {
				rt.log.Warn("http.Server.Shutdown waits", "error", err)
			}
		}
	})
}

// ErrDraining is the error of Router.Health once the Router shuts down.
var ErrDraining = errors.New("shutting down")

// attachedPatience is how long a Shutdown of an http.Server, which names nobody in
// its error, waits for handlers before the log names them, and again.
const attachedPatience = 10 * time.Second

// Shutdown refuses new clients. Then it asks the present ones to come back and ends
// their client sockets, one after the other over the window of WithDrainWindow, but no
// more than half of the time that ctx has. It waits until all handlers, connections and
// goroutines are done. The contexts of handlers that take long end before ctx does. If
// ctx ends first, it returns the error of ctx with the names of the handlers that have
// not returned: what still runs goes on, and Shutdown may be called again to wait for
// it. Call it before http.Server.Shutdown, or see Attach.
func (rt *Router) Shutdown(ctx context.Context) error {
	rt.drain(ctx)
	if err := rt.wait(ctx); err != nil {
		return fmt.Errorf("shutdown: %w", err)
	}
	return nil
}

// drain ends the clients of this node, and then what it forwards for others, which does not wait
// for clients that stay for an answer: one would take from a crowd the time to be spread over.
func (rt *Router) drain(ctx context.Context) {
	rt.server.Drain(ctx, func() {
		if rt.others != nil {
			rt.others.Drain(ctx, func(n int) time.Duration { return rt.server.Window(ctx, n) })
		}
	})
}

// wait returns when nothing is left of the clients.
func (rt *Router) wait(ctx context.Context) error {
	err := rt.hub.Shutdown(ctx)
	if rt.others != nil && err == nil {
		err = rt.others.Wait(ctx)
	}
	if waitErr := rt.server.Wait(ctx); err == nil {
		err = waitErr
	}
	// The last connections may have called handlers, and those have sent something.
	if err == nil {
		err = rt.hub.Shutdown(ctx)
	}
	if err == nil {
		err = rt.server.Wait(ctx)
	}
	return err
}
