package server_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-chime/chime/internal/server"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// What fails while a database is down is logged, again and again: no token of
// anybody may be in it.
func TestAConnectThatFailsLogsNoHeader(t *testing.T) {
	encoded := base64.RawURLEncoding.EncodeToString([]byte("a-token"))
	header := http.Header{
		"Authorization":          {"Bearer a-token"},
		"Cookie":                 {"session=a-cookie"},
		"X-Phoenix-Authtoken":    {"a-token"},
		"Chime-Secret":           {"a-secret"},
		"Connection":             {"Upgrade"},
		"Upgrade":                {"websocket"},
		"Sec-Websocket-Protocol": {"chime.v1, chime.secret.a-secret, base64url.bearer.phx." + encoded},
	}
	for _, failure := range []error{errors.New("database down"), &transport.RefusedError{Status: 200, Reason: "no"}, &transport.RefusedError{Status: 401, Reason: "no"}} {
		var book bytes.Buffer
		s, err := server.New(server.Config{
			Connect: func(*http.Request) (transport.Identity, error) { return transport.Identity{}, failure },
			Accept:  func(transport.ClientSocket) transport.Receiver { t.Error("a client was let in"); return nil },
			Log:     slog.New(slog.NewTextHandler(&book, &slog.HandlerOptions{Level: slog.LevelDebug})),
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, way := range []struct {
			name    string
			request *http.Request
			serve   http.HandlerFunc
		}{
			{"WebSocket", httptest.NewRequest(http.MethodGet, "/websocket", nil), s.ServeWebSocket},
			{"Amber", httptest.NewRequest(http.MethodGet, "/", nil), s.ServeAmber},
			{"stream", httptest.NewRequest(http.MethodGet, "/sse", nil), s.ServeStream},
			{"POST", httptest.NewRequest(http.MethodPost, "/sse", strings.NewReader("{}")), s.ServePost},
		} {
			book.Reset()
			way.request.Header = header.Clone()
			answer := httptest.NewRecorder()
			way.serve(answer, way.request)
			if answer.Code < 400 {
				t.Errorf("%s, %v: got status %d, want a refusal", way.name, failure, answer.Code)
			}
			if _, refused := errors.AsType[*transport.RefusedError](failure); !refused && !strings.Contains(book.String(), failure.Error()) {
				t.Errorf("%s: %v is not in the log, which says %q", way.name, failure, book.String())
			}
			for _, secret := range []string{"a-token", encoded, "a-cookie", "a-secret"} {
				if strings.Contains(book.String(), secret) {
					t.Errorf("%s, %v: %s is in the log: %s", way.name, failure, secret, book.String())
				}
			}
		}
	}
}

// WithConnect may ask a database, for longer than a Shutdown takes.
func TestAClientThatIsIdentifiedAfterShutdownIsNotLetIn(t *testing.T) {
	connecting, release := make(chan struct{}), make(chan struct{})
	for _, kind := range append(bothTransports, "POST") {
		t.Run(kind, func(t *testing.T) {
			blocks := false
			cfg := server.Config{Connect: func(*http.Request) (transport.Identity, error) {
				if blocks {
					connecting <- struct{}{}
					<-release
				}
				return transport.Identity{}, nil
			}}
			inHall(t, cfg, func(t *testing.T, h *hall) {
				connecting, release = make(chan struct{}), make(chan struct{}) // of this bubble
				cr, a := begin(t, h, knock{transport: transport.SSE})
				blocks = true
				answered := make(chan error, 1)
				go func() {
					if kind == "POST" {
						status, answer, err := h.post("/sse", cr.hello.Secret, "", batch(2, 0, `["1",null,"room:1","say",{"n":2}]`), fault{})
						if err == nil {
							err = &refusal{status, answer}
						}
						answered <- err
						return
					}
					_, err := h.open(knock{transport: kind})
					answered <- err
				}()
				<-connecting
				if err := h.server.Shutdown(t.Context()); err != nil {
					t.Fatal(err)
				}
				close(release)
				err := <-answered
				end, ended := errors.AsType[*End](err)
				no, refused := errors.AsType[*refusal](err)
				if !(ended && end.Code == int(wire.CloseDrain)) && !(refused && no.status == http.StatusGone && kind == "POST") {
					t.Errorf("got %v, want the end with %d, or 410 of a POST", err, wire.CloseDrain)
				}
				if n := h.server.Len(); n > 0 || len(h.apps) > 0 {
					t.Errorf("%d client sockets after Shutdown, %d opened since, want none", n, len(h.apps))
				}
				wantHeard(t, a, `{"n":1}`)
			})
		})
	}
}
