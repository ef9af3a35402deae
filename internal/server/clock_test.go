package server

import (
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// deadlineConn notes the deadline of its reads.
type deadlineConn struct {
	net.Conn
	read time.Time
}

func (c *deadlineConn) SetReadDeadline(at time.Time) error { c.read = at; return nil }

// A frame of a client makes its reader wind the clock, also after hangUp.
func TestAClientThatGoesOnTalkingDoesNotPutOffItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, politely := range []bool{true, false} {
			conn := &deadlineConn{}
			k := &clock{Conn: conn, conn: &connection{c: &client{}}, timing: &timing{silence: time.Minute}, lastRead: time.Now().UnixNano()}
			k.wind()
			k.hangUp(politely)
			want := time.Now()
			if politely {
				want = want.Add(hangUpWait)
			}
			for range 5 {
				time.Sleep(hangUpWait / 2)
				k.lastRead = time.Now().UnixNano()
				k.wind()
				if !conn.read.Equal(want) {
					t.Fatalf("politely %v: got a deadline %v after the one that hangUp set", politely, conn.read.Sub(want))
				}
			}
		}
	})
}
