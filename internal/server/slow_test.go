package server_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/go-chime/chime/internal/server"
	"github.com/go-chime/chime/transport"
)

func TestTheLogSaysWhatAClientWasTooSlowFor(t *testing.T) {
	var book bytes.Buffer
	cfg := server.Config{Limits: transport.Limits{QueueBytes: 1200}, Log: slog.New(slog.NewTextHandler(&book, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	inHall(t, cfg, func(t *testing.T, h *hall) {
		cr, a := begin(t, h, knock{transport: transport.SSE})
		cr.plug.kill()
		synctest.Wait()
		var err error
		for n := 0; err == nil; n++ {
			_, err = a.say(n)
		}
		if !errors.Is(err, transport.ErrSlow) {
			t.Fatalf("Send: got %v, want %v", err, transport.ErrSlow)
		}
		<-a.closed
		if want := `msg="client was slow" client=` + cr.hello.ID + ` transport=sse cause=queue waiting=`; !strings.Contains(book.String(), want) || !strings.Contains(book.String(), "allowed=1200") {
			t.Errorf("the log is %q, want %q, and what was allowed", book.String(), want)
		}
	})
}
