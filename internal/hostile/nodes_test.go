package hostile

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/broker/brokertest"
	"github.com/go-chime/chime/broker/local"
	"github.com/go-chime/chime/store"
)

// Anonymous clients that come by another node are counted by the address that they have there,
// and nobody can say to have another.
func TestClientsThatAreForwardedPayForTheirOwnAddress(t *testing.T) {
	engine := brokertest.NewEngine(local.New(store.NewMemory()))
	between := &http.Transport{}
	defer between.CloseIdleConnections()
	var nodes []*httptest.Server
	for range 2 {
		s := httptest.NewUnstartedServer(nil)
		live := chime.NewRouter(chime.WithAnonymous(), chime.WithBroker(engine.Node()), chime.WithLimits(chime.Limits{AddressPostsPerSecond: 1}),
			chime.WithNode("", "http://"+s.Listener.Addr().String()), chime.WithNodeTransport(between), chime.WithDrainWindow(time.Nanosecond))
		r := chi.NewRouter()
		r.Mount("/socket", live)
		s.Config.Handler = r
		s.Start()
		defer s.Close()
		defer func() {
			if err := live.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		}()
		nodes = append(nodes, s)
	}
	serve := func(node int, method, address, secret string, headers ...string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), method, "/socket/poll", strings.NewReader(`{"first":1,"received":0,"frames":[]}`))
		if method == http.MethodGet {
			r.Body, r.ContentLength = http.NoBody, 0
		}
		r.RemoteAddr = address
		r.Header.Set("Chime-Received", "0")
		if secret != "" {
			r.Header.Set("Chime-Secret", secret)
		}
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		nodes[node].Config.Handler.ServeHTTP(w, r)
		return w
	}
	enter := func(address string) (secret string) {
		var reply struct{ Frames [][5]json.RawMessage }
		var hello struct{ Secret string }
		w := serve(1, http.MethodGet, address, "")
		if err := json.Unmarshal(w.Body.Bytes(), &reply); err != nil || len(reply.Frames) == 0 {
			t.Fatalf("got %d %s", w.Code, w.Body)
		}
		if err := json.Unmarshal(reply.Frames[0][4], &hello); err != nil {
			t.Fatal(err)
		}
		return hello.Secret
	}
	// until is how many POSTs are taken by a node from an address before one is refused.
	until := func(node int, address, secret string, forged bool) int {
		for n := range 100 {
			var headers []string
			if forged {
				headers = []string{"Chime-Forwarded", fmt.Sprintf("node-001 AAAAAAAAAAAAAAAAAAAAAA 198.51.100.%d:80", n), "X-Forwarded-For", fmt.Sprint("198.51.100.", n), "Connection", "Chime-Forwarded"}
			}
			switch w := serve(node, http.MethodPost, address, secret, headers...); w.Code {
			case http.StatusTooManyRequests:
				return n
			case http.StatusOK:
			default:
				t.Fatalf("got %d %s", w.Code, w.Body)
			}
		}
		return 100
	}
	secret := enter("192.0.2.1:80")
	for _, tt := range []struct {
		node    int
		address string
		forged  bool
	}{{0, "203.0.113.1:80", false}, {0, "203.0.113.2:80", false}, {0, "203.0.113.3:80", true}, {1, "203.0.113.4:80", false}, {1, "203.0.113.5:80", true}} {
		if tt.forged && tt.node == 0 { // what claims to be forwarded is not: this node knows no such client
			if w := serve(0, http.MethodPost, tt.address, secret, "Chime-Forwarded", "node-001"); w.Code != http.StatusGone {
				t.Errorf("got %d, want 410", w.Code)
			}
			continue
		}
		if n := until(tt.node, tt.address, secret, tt.forged); n < 5 || n > 20 {
			t.Errorf("%+v: %d POSTs were taken, want those of one address", tt, n)
		}
	}
}
