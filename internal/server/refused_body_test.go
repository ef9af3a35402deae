package server_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/go-chime/chime/internal/server"
)

// A body that nobody reads is still on its way when its answer is: a connection that is
// closed at once is reset, and takes the answer with it.
func TestARefusalIsReadBeforeItsConnectionIsClosed(t *testing.T) {
	wrapped := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(unwrapping{w}, r) })
	}
	for name, middleware := range map[string]func(http.Handler) http.Handler{"alone": nil, "behind middleware": wrapped} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, network{}, server.Config{}, middleware, func(t *testing.T, b *bubble) {
				p := openTabs(t, b, 1)[0]
				conn, err := b.connect()
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				go func() { // until the connection is closed
					_, _ = fmt.Fprintf(conn, "POST /wait HTTP/1.1\r\nHost: x\r\nChime-Secret: %s\r\nContent-Length: 5000\r\n\r\n%05000d", p.secret, 0)
				}()
				r := bufio.NewReader(conn)
				res, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Fatalf("the answer: %v", err)
				}
				defer res.Body.Close()
				if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusRequestEntityTooLarge || !res.Close {
					t.Errorf("got %s, Close %t and error %v, want 413, true and none", res.Status, res.Close, err)
				}
				answered := time.Now()
				if _, err := r.ReadByte(); err == nil {
					t.Error("got more than one answer")
				}
				if took := time.Since(answered); took < 100*time.Millisecond || took > time.Second {
					t.Errorf("the connection was closed %v after the answer, want a moment later", took)
				}
			})
		})
	}
}

type unwrapping struct{ http.ResponseWriter }

func (w unwrapping) Unwrap() http.ResponseWriter { return w.ResponseWriter }
