package server

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/internal/clientsocket"
	"github.com/go-chime/chime/internal/dialect"
	"github.com/go-chime/chime/transport"
)

// deadlineConn notes the deadline of its reads.
type deadlineConn struct {
	net.Conn
	read time.Time
}

func (c *deadlineConn) SetReadDeadline(at time.Time) error { c.read = at; return nil }

// A frame of a client makes its reader wind the clock, also after the close.
func TestAClientThatGoesOnTalkingDoesNotPutOffItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, wait := range []time.Duration{answerWait, 0} {
			s, err := New(anybody)
			if err != nil {
				t.Fatal(err)
			}
			conn, l := &deadlineConn{}, &webSocketLine{}
			k := &l.reader
			*k = reader{Conn: conn, watched: &l.conn, timing: &dialect.Timing{Silence: time.Minute}}
			l.conn.Init(l)
			if err := s.clients.Open(&clientsocket.ClientSocket{}, &l.conn, clientsocket.Opening{Identity: transport.Identity{ID: "ada"}}); err != nil {
				t.Fatal(err)
			}
			k.wind()
			k.cut(wait)
			want := time.Now().Add(wait)
			for range 5 {
				time.Sleep(answerWait / 2)
				l.conn.Heard()
				k.wind()
				if !conn.read.Equal(want) {
					t.Fatalf("closed with %v to answer: got a deadline %v after the one that the close set", wait, conn.read.Sub(want))
				}
			}
		}
	})
}
