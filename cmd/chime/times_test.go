package main

import (
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/internal/raw"
)

// A request that does not come, whichever part of it, keeps no connection.
func TestServeGivesUpRequestsThatDoNotCome(t *testing.T) {
	body := "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"
	for _, test := range []struct {
		name, sent string
		want       time.Duration
	}{
		{"the header", strings.TrimSuffix(body, "\r\n"), 5 * time.Second},
		{"the body", body, 10 * time.Second},
		{"the next one", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", idleTime},
		{"any", "", 5 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pipes, done := raw.NewPipes(), make(chan struct{})
				srv := newServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body)
				}), slog.New(slog.DiscardHandler))
				go func() {
					defer close(done)
					_ = srv.Serve(pipes)
				}()
				conn, err := pipes.Dial()
				if err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				if _, err := io.WriteString(conn, test.sent); err != nil {
					t.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, conn) // until it ends
				if took := time.Since(start); took < test.want || took > test.want+time.Second {
					t.Errorf("given up after %v, want %v", took, test.want)
				}
				_ = conn.Close()
				_ = srv.Close()
				<-done
			})
		})
	}
}
