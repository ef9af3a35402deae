package server_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/go-chime/chime/internal/server"
	"github.com/go-chime/chime/transport"
)

// A connection may end in order and within a message all the same, as when the
// process of the client dies. What has come of the message is not the message.
func TestAMessageThatIsCutShortIsNotHandedOn(t *testing.T) {
	// A binary push of Phoenix V2: any part of its payload would be one, too.
	push := "\x00\x01\x01\x06\x03" + "1" + "1" + "room:1" + "say" + strings.Repeat("x", 1200)
	whole := frame(fin|opBinary, push)
	for at := 1; at < len(whole); at++ {
		inHall(t, server.Config{}, func(t *testing.T, h *hall) {
			conn, err := h.net.dial(fault{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := fmt.Fprint(conn, "GET /websocket?vsn=2.0.0 HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
				"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			a := <-h.apps
			if _, err := conn.Write(whole[:at]); err != nil {
				t.Fatal(err)
			}
			_ = conn.Close()
			synctest.Wait()
			if n := len(a.heard()); n > 0 {
				t.Errorf("%d of %d bytes had come, and a message was handed on", at, len(whole))
			}
			if why := (<-a.closed).why; why != transport.Vanished {
				t.Errorf("%d of %d bytes had come: Closed(%s), want Closed(%s)", at, len(whole), why, transport.Vanished)
			}
		})
	}
}
