package forward

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

const (
	// reach is how long it may take to reach a node, whatever the transport allows: they
	// are near.
	reach = 5 * time.Second

	// patience is how long a node may take to begin its answer: longer than a poll is parked.
	patience = 30 * time.Second
)

// errLate ends a call whose node was not reached, or did not begin to answer.
var errLate = errors.New("the node takes too long")

// call is a request that is forwarded.
type call struct {
	to   *place
	ctx  context.Context
	end  context.CancelFunc
	said http.Header // what this node has said to the client; nil: nobody wants to know
	body *body       // of the answer; nil: there is none, or it is a connection
	err  error       // of the attempt

	late              *time.Timer // ends it if nothing is answered
	sought, connected atomic.Bool // the transport looks for a connection, and has one
}

// newCall returns a call that ends with ctx, or when end is called. Ctx may end sooner than
// what is forwarded: a client whose request is over has a connection all the same.
func newCall(ctx context.Context, to *place) *call {
	ctx, cancel := context.WithCancelCause(ctx)
	c := &call{to: to, end: func() { cancel(nil) }}
	c.late = time.AfterFunc(patience, func() { cancel(errLate) })
	c.ctx = httptrace.WithClientTrace(context.WithValue(ctx, callKey{}, c), &httptrace.ClientTrace{
		GetConn: func(string) {
			c.sought.Store(true)
			c.connected.Store(false) // the one there was is of no use
			c.late.Reset(reach)
		},
		GotConn: func(httptrace.GotConnInfo) {
			c.connected.Store(true)
			c.late.Reset(patience)
		},
	})
	return c
}

type callKey struct{}

// callOf is the call that a request belongs to.
func callOf(r *http.Request) *call { return r.Context().Value(callKey{}).(*call) }

// unsent reports whether the attempt has failed before anything of the request can have
// been sent: the node can't be reached, or is none of this application. A transport that
// does not say what it does is believed if its error is that of a dial.
func (c *call) unsent() bool {
	if c.ctx.Err() != nil && !errors.Is(context.Cause(c.ctx), errLate) {
		return false // nobody waited for it
	}
	op, ok := errors.AsType[*net.OpError](c.err)
	return c.sought.Load() && !c.connected.Load() || ok && op.Op == "dial"
}

// trips are those of requests that are forwarded.
type trips struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t trips) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.RoundTripper.RoundTrip(r)
	if err == nil {
		callOf(r).answered(resp)
	}
	return resp, err
}

// answered is called with an answer. What middleware of this node has said to the client,
// that of the other node has said too.
func (c *call) answered(resp *http.Response) {
	c.late.Stop()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		c.body = &body{ReadCloser: resp.Body}
		resp.Body = c.body
	}
	for name := range resp.Header {
		if name != "Set-Cookie" {
			delete(c.said, name)
		}
	}
}
