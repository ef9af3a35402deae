package server

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// elsewhere is another node, which answers with f.
type elsewhere func(w http.ResponseWriter, r *http.Request)

func (f elsewhere) Serve(w http.ResponseWriter, r *http.Request, _ string) bool {
	f(w, r)
	return true
}

func (elsewhere) Post(context.Context, *http.Request, string, []byte) ([]byte, error) {
	return nil, io.EOF
}

// beside returns a server beside a node.
func beside(t *testing.T, f elsewhere) *Server {
	t.Helper()
	cfg := anybody
	cfg.Origins, cfg.Node, cfg.Elsewhere = []string{"https://page.example"}, "node-001", f
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A page of another origin may read why this node could not have its request answered.
func TestAPageCanReadThatItsNodeDidNotAnswer(t *testing.T) {
	s := beside(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	for name, serve := range map[string]http.HandlerFunc{"stream": s.ServeStream, "post": s.ServePost} {
		w, r := httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/sse", nil)
		r.Header.Set("Origin", "https://page.example")
		r.Header.Set(headerSecret, "node-002 and more")
		serve(w, r)
		if got := w.Header().Get("Access-Control-Allow-Origin"); w.Code != http.StatusBadGateway || got != "https://page.example" {
			t.Errorf("%s: got %d, allowed %q", name, w.Code, got)
		}
	}
}

// What sends a request may still read its body when it is over, as net/http's does.
func TestTheBodyOfAByeIsNotUsedAgainForAnother(t *testing.T) {
	var late []io.Reader
	s := beside(t, func(_ http.ResponseWriter, r *http.Request) { late = append(late, r.Body) })
	want := []string{"node-002 and one", "node-002 and two"}
	for _, secret := range want {
		s.ServeBye(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/bye", strings.NewReader(secret)))
	}
	for i := range want {
		if got, err := io.ReadAll(late[i]); string(got) != want[i] || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, want[i])
		}
	}
}

// A node of another version may give other secrets, and other requests to those it forwards.
func TestSecretsOfAnyFormHaveAnOwnerOrNone(t *testing.T) {
	o := others{node: "node-001"}
	for secret, want := range map[string]string{
		"": "", "short": "", "node-001": "", "node-001 and more": "", "node-002": "",
		"node-002 and more": "node-002", "\xff\x00 of no form at all": "\xff\x00 of no",
	} {
		if got := o.owner(secret); got != want {
			t.Errorf("%q: got %q, want %q", secret, got, want)
		}
	}
	if got := new(others).owner("node-002 and more"); got != "" {
		t.Errorf("of one node alone: got %q", got)
	}
}
