package server_test

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/go-chime/chime/internal/server"
	"github.com/go-chime/chime/transport"
)

// The suite that every transport passes drives a Server with receivers that only
// take notes, so that what it finds is a transport's and no channel's. It holds a
// transport to what ClientSocket and Receiver say; the bytes on the wire are for
// other tests, and so is when things happen: what takes seconds is checked here
// for coming at all. There is no grace period: coming back takes a client of the
// chime dialect, which a peer need not be. Run it with -race.

// peer is the client of one client socket. One goroutine calls Next; all other
// methods are safe for concurrent use. A peer reads from its connection in Next
// only: the suite wants to see what happens when a client does not.
type peer interface {
	// Send sends frames, each a five-array, in one batch where the transport
	// has batches. It returns when they are written, or taken by the server.
	Send(frames ...string) error
	// Next returns the next frame from the server, without those of the topic
	// chime. At the end it says what the server said, if it said something: an
	// *End. It fails in a while, should nothing come.
	Next() (string, error)
	// Leave ends the client socket as a client does that is done.
	Leave() error
	// Vanish cuts the connection without a word.
	Vanish()
}

// End is what a server says before it ends a connection.
type End struct { //nolint:errname // it ends a stream as io.EOF does, which is no EOFError either
	Code   int
	Reason string
}

func (e *End) Error() string { return fmt.Sprintf("ended with %d %q", e.Code, e.Reason) }

// runSuite checks the transport whose peers come from what serve returns. Serve
// serves h until the end of the test; h answers GET /websocket, GET and POST
// /sse and /poll, and POST /bye. Bubble has the time be that of a bubble: where the server
// sees only by a silence that a peer has vanished, that is waited for again and again.
func runSuite(t *testing.T, bubble bool, serve func(t *testing.T, h http.Handler) (connect func() (peer, error))) {
	for _, test := range []struct {
		name string
		run  func(*stage)
		cfg  server.Config
	}{
		{name: "frames arrive in order, each once", run: upwards},
		{name: "what is sent arrives in order", run: downwards},
		{name: "what several send at once arrives, each one's in order", run: together},
		{name: "what Accept sends arrives", run: greeting},
		{name: "what Accept closes is closed, and told", run: turningAway},
		{name: "Close says why, after what was queued", run: closing},
		{name: "the first Close counts", run: closingTwice},
		{name: "a peer that leaves has closed", run: leaving},
		{name: "a peer that vanishes is gone", run: vanishing},
		{name: "an identity expires", run: expiring, cfg: server.Config{Connect: soon}},
		{name: "Disconnect ends those of an identity", run: disconnecting},
		{name: "whatever ends it, and all at once, Closed is called once", run: endings},
		{name: "Offer queues what fits, and ends nothing", run: offering, cfg: server.Config{Limits: small}},
		{name: "the first end counts, though the receiver is told later", run: slowFirst, cfg: server.Config{Limits: small}},
		{name: "Ready calls back when there is room", run: ready, cfg: server.Config{Limits: small}},
		{name: "Ready calls back the last who asked", run: readyAgain, cfg: server.Config{Limits: small}},
		{name: "Ready calls back at the end", run: readyAtTheEnd, cfg: server.Config{Limits: small}},
		{name: "a peer that never reads is slow, and nobody waits for it", run: slow, cfg: server.Config{Limits: small}},
		{name: "the context has the values of the request and outlives it", run: values},
		{name: "Shutdown waits for all", run: shutdown},
		{name: "Shutdown waits as long as its context", run: shutdownInVain, cfg: server.Config{Limits: small}},
	} {
		run := func(t *testing.T) { test.run(newStage(t, test.cfg, serve)) }
		t.Run(test.name, func(t *testing.T) {
			t.Parallel() // while one waits
			if bubble {
				synctest.Test(t, run)
			} else {
				run(t)
			}
		})
	}
}

var small = transport.Limits{QueueBytes: 64 << 10}

// ways are the transports and dialects with two directions.
var ways = []struct {
	name    string
	connect func(*site) (peer, error)
	anyHTTP bool // it needs no connection of HTTP/1 for itself
	bubble  bool
}{
	{"websocket-chime", func(s *site) (peer, error) {
		ws, err := s.chime()
		if err != nil {
			return nil, err
		}
		return socketPeer{ws}, nil
	}, false, false},
	{"websocket-phoenix", func(s *site) (peer, error) {
		ws, err := s.phoenix()
		if err != nil {
			return nil, err
		}
		return socketPeer{ws}, nil
	}, false, false},
	{"sse", func(s *site) (peer, error) {
		es, err := s.half()
		if err != nil {
			return nil, err
		}
		return es, nil
	}, true, false},
	{"longpoll", func(s *site) (peer, error) {
		p, err := s.polling()
		if err != nil {
			return nil, err
		}
		return p, nil
	}, true, true},
}

var networks = []network{
	{name: "tcp"},
	{name: "tls", tls: true},
	{name: "http2", tls: true, http2: true},
	{name: "without-hijack", http1WithoutHijack: true},
}

// streamsOnly reports whether n is of no use to a WebSocket, which needs the
// connection of HTTP/1 for itself.
func (n network) streamsOnly() bool { return n.http2 || n.http1WithoutHijack }

func TestTransports(t *testing.T) {
	for _, n := range networks {
		for _, way := range ways {
			if n.streamsOnly() && !way.anyHTTP {
				continue
			}
			n := n // each way has its own
			n.pipes = way.bubble
			t.Run(way.name+"/"+n.name, func(t *testing.T) {
				t.Parallel()
				runSuite(t, way.bubble, func(t *testing.T, h http.Handler) func() (peer, error) {
					s := serve(t, n, h)
					return func() (peer, error) { return way.connect(s) }
				})
			})
		}
	}
}
