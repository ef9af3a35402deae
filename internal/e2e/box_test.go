package e2e

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"

	"github.com/go-chime/chime/internal/need"
)

// TestABoxThatClosesIsNoGoodbye has a box between that speaks WebSocket, and closes each
// towards both sides after some messages, with codes by which a client could leave or a
// server end it. What is said is heard once and in order, and nobody sees anybody leave.
func TestABoxThatClosesIsNoGoodbye(t *testing.T) {
	node := need.Program(t, "node")
	need.Path(t, "node_modules/ws", "run make deps")
	t.Parallel() // mostly waiting
	s := serve(t)
	b := &box{}
	before := httptest.NewServer(b.on(t, s.url))
	t.Cleanup(before.Close)
	p := start(t, exec.Command(node, "resume.mjs", "a network that cuts every connection", "websocket", s.url, before.URL, strconv.FormatUint(need.Seed(t)%(1<<32), 10)))
	p.line(t, regexp.MustCompile(`^cut$`))
	b.closing.Store(true)
	p.line(t, regexp.MustCompile(`^mend$`))
	b.closing.Store(false)
	if err := p.wait(t); err != nil {
		t.Error(err)
	}
	if n := b.closed.Load(); n < 8 {
		t.Errorf("got %d connections closed, want 8 at least: each code for both", n)
	}
}

// box forwards requests, and closes WebSockets.
type box struct {
	closing atomic.Bool
	closed  atomic.Int64
}

func (b *box) on(t *testing.T, to string) http.Handler {
	t.Helper()
	at, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	at.Path = ""
	forward := httputil.NewSingleHostReverseProxy(at)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			forward.ServeHTTP(w, r)
			return
		}
		var offered []string
		for protocol := range strings.SplitSeq(r.Header.Get("Sec-WebSocket-Protocol"), ",") {
			offered = append(offered, strings.TrimSpace(protocol))
		}
		server, res, err := websocket.Dial(r.Context(), at.String()+r.URL.RequestURI(), &websocket.DialOptions{Subprotocols: offered}) //nolint:bodyclose // a WebSocket has none, and a refusal says nothing here
		if err != nil {
			if res != nil {
				w.WriteHeader(res.StatusCode)
			}
			return
		}
		client, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"chime.v1"}, InsecureSkipVerify: true})
		if err != nil {
			_ = server.CloseNow()
			return
		}
		b.carry(client, server)
	})
}

// carry forwards messages until one side ends, or it is time to close.
func (b *box) carry(client, server *websocket.Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var left atomic.Int64
	left.Store(20)
	var once sync.Once
	end := func(code websocket.StatusCode) {
		once.Do(func() {
			var both sync.WaitGroup
			for _, side := range []*websocket.Conn{client, server} {
				both.Go(func() { _ = side.Close(code, "") })
			}
			go func() { both.Wait(); cancel() }()
		})
	}
	forward := func(to, from *websocket.Conn) {
		for {
			kind, text, err := from.Read(ctx)
			if err == nil {
				err = to.Write(ctx, kind, text)
			}
			if err != nil {
				_ = to.CloseNow()
				_ = from.CloseNow()
				return
			}
			if left.Add(-1) < 0 && b.closing.Load() {
				codes := []websocket.StatusCode{1000, 1001, 1012, websocket.StatusNoStatusRcvd}
				end(codes[b.closed.Add(1)%int64(len(codes))])
				return
			}
		}
	}
	var both sync.WaitGroup
	both.Go(func() { forward(client, server) })
	both.Go(func() { forward(server, client) })
	both.Wait()
}
