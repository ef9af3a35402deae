package forward

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
)

// The other node knows from where the client came, though its request comes from a node.
func TestTheAddressOfAClientGoesWithItsRequest(t *testing.T) {
	own := broker.Node{ID: "node-002", Key: "known to nodes"}
	there := New(Config{Self: own})
	var from, sent string
	second := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		from, sent = there.Received(r).RemoteAddr, r.Header.Get(header)
	}))
	defer second.Close()
	own.URL = second.URL
	transport := Plain()
	defer transport.CloseIdleConnections()
	f := New(Config{Self: broker.Node{ID: "node-001", Key: "of another"}, Transport: transport, StuckFor: time.Second, Nodes: func(context.Context) ([]broker.Node, error) {
		return []broker.Node{own}, nil
	}})
	for _, address := range []string{"203.0.113.9:5060", "[2001:db8::1]:80", "2001:db8::1", "@", "", "what middleware says"} {
		for what, call := range map[string]func(r *http.Request){
			"Serve": func(r *http.Request) { f.Serve(httptest.NewRecorder(), r, "node-002") },
			"Post":  func(r *http.Request) { _, _ = f.Post(t.Context(), r, "node-002", nil) },
		} {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/wait", nil)
			r.RemoteAddr = address
			r.Header.Set("Connection", header) // a client may want it taken off
			r.Header.Add(header, "")
			call(r)
			if from != address || strings.Contains(sent, own.Key) {
				t.Errorf("%s, %q: got %q by %q, want the address of the client, and no key", what, address, from, sent)
			}
		}
	}
}

// Anybody can send the header.
func TestOnlyNodesAreBelievedWhereAClientIs(t *testing.T) {
	f := New(Config{Self: broker.Node{ID: "node-002", Key: "known to nodes"}})
	good := proof("known to nodes", "node-001", "203.0.113.9")
	for _, tt := range []struct {
		said     string
		believed bool
	}{
		{"node-001 " + good + " 203.0.113.9", true},
		{"node-001 " + good + " 203.0.113.8", false},
		{"node-003 " + good + " 203.0.113.9", false},
		{"node-001 " + proof("", "node-001", "203.0.113.9") + " 203.0.113.9", false},
		{"node-001 " + proof("known to another", "node-001", "203.0.113.9") + " 203.0.113.9", false},
		{"node-001 " + good, false},
		{"node-001  203.0.113.9", false},
		{"node-001", false}, // of a node that knows no key of this one
		{"", false},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/wait", nil)
		was := r.RemoteAddr
		r.Header.Set(header, tt.said)
		got := f.Received(r).RemoteAddr
		if want := map[bool]string{true: "203.0.113.9", false: was}[tt.believed]; got != want {
			t.Errorf("%q: got %q, want %q", tt.said, got, want)
		}
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/wait", nil)
	r.Header.Set(header, "node-001 "+proof("", "node-001", "203.0.113.9")+" 203.0.113.9")
	if New(Config{}).Received(r) != r {
		t.Error("a node without a key believes anybody")
	}
}
