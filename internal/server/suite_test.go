package server_test

import (
	"net/http"
	"testing"

	"github.com/go-chime/chime/internal/server/servertest"
)

type peer = servertest.Peer

// ways are the transports and dialects with two directions.
var ways = []struct {
	name    string
	connect func(*site) (peer, error)
	stream  bool
}{
	{"websocket-chime", func(s *site) (peer, error) {
		ws, err := s.chime()
		if err != nil {
			return nil, err
		}
		return socketPeer{ws}, nil
	}, false},
	{"websocket-phoenix", func(s *site) (peer, error) {
		ws, err := s.phoenix()
		if err != nil {
			return nil, err
		}
		return socketPeer{ws}, nil
	}, false},
	{"sse", func(s *site) (peer, error) {
		es, err := s.half()
		if err != nil {
			return nil, err
		}
		return es, nil
	}, true},
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
			if n.streamsOnly() && !way.stream {
				continue
			}
			t.Run(way.name+"/"+n.name, func(t *testing.T) {
				servertest.Run(t, func(t *testing.T, h http.Handler) func() (servertest.Peer, error) {
					s := serve(t, n, h)
					return func() (servertest.Peer, error) { return way.connect(s) }
				})
			})
		}
	}
}
