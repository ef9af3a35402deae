package apps_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"golang.org/x/net/http2"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/broker/brokertest"
	"github.com/go-chime/chime/broker/local"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/internal/raw"
	"github.com/go-chime/chime/store"
)

type hall struct {
	channel.AnyoneMayJoin
	channel.ListenOnly
	channel.NothingOnLeave
}

// A client whose WebSocket is a stream of HTTP/2 goes on by another node, as any other does,
// and misses nothing.
func TestAWebSocketOnHTTP2GoesOnByAnotherNode(t *testing.T) {
	if os.Getenv("GODEBUG") != "http2xconnect=1" { // see TestWebSocketOnHTTP2
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1")
		child.Env = append(os.Environ(), "GODEBUG=http2xconnect=1")
		if out, err := child.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return
	}
	engine := brokertest.NewEngine(local.New(store.NewMemory()))
	between := &http.Transport{}
	t.Cleanup(between.CloseIdleConnections)
	var nodes []*chime.Router
	var sites []*raw.Site
	for range 2 {
		s := httptest.NewUnstartedServer(nil)
		at := s.Listener.Addr().String()
		live := chime.NewRouter(chime.WithAnonymous(), chime.WithBroker(engine.Node()), chime.WithNode("", "http://"+at),
			chime.WithNodeTransport(between), chime.WithDrainWindow(time.Nanosecond))
		live.Channel("hall:{id}", hall{}, channel.History{Keep: 10})
		r := chi.NewRouter()
		r.Mount("/socket", live)
		s.Config = &http.Server{Handler: r, Protocols: new(http.Protocols), ReadTimeout: time.Second, WriteTimeout: time.Second}
		s.Config.Protocols.SetHTTP1(true)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Start()
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			if err := live.Shutdown(ctx); err != nil {
				t.Error(err)
			}
			_ = s.Config.Close()
		})
		nodes, sites = append(nodes, live), append(sites, &raw.Site{Host: at, Wait: 10 * time.Second, Dial: func() (net.Conn, error) { return net.Dial("tcp", at) }})
	}
	c := &http2.Transport{AllowHTTP: true, DialTLSContext: func(ctx context.Context, network, at string, _ *tls.Config) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, at)
	}}
	t.Cleanup(c.CloseIdleConnections)
	said := func(node int, what string) {
		if err := nodes[node].Broadcast(t.Context(), "hall:1", "said", map[string]string{"what": what}); err != nil {
			t.Error(err)
		}
	}

	ws, res := openHTTP2(t, sites[0], c, "/socket/websocket", "Sec-WebSocket-Protocol", "chime.v1")
	secret := raw.SecretIn(t, ws.Next())
	ws.Text(`["1","1","hall:1","phx_join",{"@last":0}]`)
	if got := ws.Next(); !strings.Contains(got, `"status":"ok"`) {
		t.Fatalf("got %s", got)
	}
	said(1, "one")
	if got := ws.Next(); !strings.Contains(got, `{"what":"one"}`) {
		t.Fatalf("got %s", got)
	}
	_ = res.Body.Close() // the network breaks
	said(1, "two")
	for _, by := range []string{"HTTP/2", "HTTP/1.1"} { // and breaks again
		if by == "HTTP/2" {
			ws, res = openHTTP2(t, sites[1], c, "/socket/websocket", "Sec-WebSocket-Protocol", "chime.v1, chime.secret."+secret)
		} else {
			ws = sites[1].Upgrade(t, "/socket/websocket", "Sec-WebSocket-Protocol: chime.v1, chime.secret."+secret).Opened()
		}
		hello := ws.Next()
		if secret = raw.SecretIn(t, hello); !strings.Contains(hello, `"resumed":true`) {
			t.Fatalf("%s: got %s, want that it goes on", by, hello)
		}
		received, want := `{"received":2}`, "two"
		if by == "HTTP/1.1" {
			received, want = `{"received":3}`, "four"
		}
		ws.Text(`[null,null,"chime","ack",` + received + `]`)
		if got := ws.Next(); !strings.Contains(got, `{"what":"`+want+`"}`) {
			t.Errorf("%s: got %s, want what was said meanwhile", by, got)
		}
		if by == "HTTP/2" {
			_ = res.Body.Close()
			said(0, "four")
		}
	}
}
