package forward

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/broker"
)

// secured is another node behind TLS, of a CA of its own, and a Forwarder that reaches it
// by t.
func secured(tb testing.TB, h http.Handler, t func(second *httptest.Server) http.RoundTripper) (f *Forwarder, said *strings.Builder) {
	second := httptest.NewUnstartedServer(h)
	second.EnableHTTP2 = true
	second.Config.ErrorLog = log.New(io.Discard, "", 0)
	second.StartTLS()
	tb.Cleanup(second.Close)
	said = &strings.Builder{}
	f = New(Config{Self: broker.Node{ID: "node-001"}, StuckFor: time.Second, Transport: t(second), Unreached: func(id, at string, why error) { fmt.Fprintln(said, id, at, why) }, Nodes: func(context.Context) ([]broker.Node, error) {
		return []broker.Node{{ID: "node-002", URL: second.URL}}, nil
	}})
	return f, said
}

// trusting is a transport that knows the CA of a node.
func trusting(tb testing.TB, http2 bool) func(*httptest.Server) http.RoundTripper {
	return func(second *httptest.Server) http.RoundTripper {
		t := Plain()
		t.TLSClientConfig = &tls.Config{RootCAs: second.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
		t.ForceAttemptHTTP2 = http2
		tb.Cleanup(t.CloseIdleConnections)
		return t
	}
}

func TestNodesSpeakTLSByACAOfTheirOwn(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		var major atomic.Int32
		f, _ := secured(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			major.Store(int32(r.ProtoMajor))
			body, _ := io.ReadAll(r.Body)
			_, _ = io.WriteString(w, "heard "+string(body))
		}), trusting(t, http2))
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/sse", strings.NewReader("frames"))
		if !f.Serve(w, r, "node-002") || w.Code != http.StatusOK || w.Body.String() != "heard frames" {
			t.Errorf("got %d %q, want the answer of the node", w.Code, w.Body)
		}
		if got := major.Load() == 2; got != http2 {
			t.Errorf("got HTTP/%d, want HTTP/2: %v", major.Load(), http2)
		}
	}
}

// A transport that may use HTTP/2 does not for an upgrade.
func TestAnUpgradeIsForwardedBesideHTTP2(t *testing.T) {
	f, _ := secured(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			echo(t, w)
		}
	}), trusting(t, true))
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.Serve(w, r, "node-002") }))
	defer front.Close()
	resp, err := front.Client().Get(front.URL) // there is a connection of HTTP/2 now
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	wantEcho(t, front.Listener.Addr())
}

// Nothing was sent to what can't show that it is a node: the client begins anew, and the log
// says why.
func TestANodeOfAnotherCAHasNoClients(t *testing.T) {
	f, said := secured(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was asked") }), func(second *httptest.Server) http.RoundTripper {
		t := trusting(t, true)(second).(*http.Transport)
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		return t
	})
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/sse", strings.NewReader("frames"))
	if f.Serve(httptest.NewRecorder(), r, "node-002") {
		t.Error("answered, want that this node answers")
	}
	if got := said.String(); !strings.Contains(got, "certificate signed by unknown authority") || !strings.Contains(got, "node-002") {
		t.Errorf("was told %q, want what is wrong with which node", got)
	}
}

// What can be known of an attempt that failed decides, whatever the type of its error.
func TestWhatWasNotSentIsNotInDoubt(t *testing.T) {
	type outcome int
	const (
		began outcome = iota // anew, on this node
		failed
	)
	for name, c := range map[string]struct {
		dial func(context.Context, string, string) (net.Conn, error)
		want outcome
	}{
		"a dialer's own error": {func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no tunnel") }, began},
		"a connection that breaks": {func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			go func() { // ends with the first bytes
				_, _ = far.Read(make([]byte, 1))
				_ = far.Close()
			}()
			return near, nil
		}, failed},
	} {
		transport := &http.Transport{DialContext: c.dial}
		f := New(Config{StuckFor: time.Second, Transport: transport, Nodes: func(context.Context) ([]broker.Node, error) {
			return []broker.Node{{ID: "node-002", URL: "http://10.0.0.7:4000"}}, nil
		}})
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/sse", strings.NewReader("frames"))
		answered := f.Serve(w, r, "node-002")
		transport.CloseIdleConnections()
		if answered != (c.want == failed) || answered && w.Code != http.StatusBadGateway {
			t.Errorf("%s: answered: %v, with %d", name, answered, w.Code)
		}
	}
}

// A client that leaves while a node is dialled says nothing of the node.
func TestWhoLeavesDuringADialDoesNotHaveTheNodeTakenToBeGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{}) // a transport goes on with a dial that nobody waits for
		transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			<-end
			return nil, errors.New("no tunnel")
		}}
		f := New(Config{StuckFor: time.Second, Transport: transport, Nodes: func(context.Context) ([]broker.Node, error) {
			return []broker.Node{{ID: "node-002", URL: "http://10.0.0.7:4000"}}, nil
		}})
		serve := func(ctx context.Context) bool {
			return f.Serve(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/sse", nil), "node-002")
		}
		ctx, leave := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, leave)
		if !serve(ctx) {
			t.Error("got that the node can't be reached, because the client has left")
		}
		began := time.Now()
		if serve(t.Context()) || time.Since(began) != reach {
			t.Errorf("answered, or after %v: want that this node answers after %v", time.Since(began), reach)
		}
		close(end)
	})
}

// proxied is a listener of connections that begin with a line of the PROXY protocol, as some
// load balancers have it.
type proxied struct{ net.Listener }

// Accept implements net.Listener.
func (l proxied) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		conn = &introduced{Conn: conn}
	}
	return conn, err
}

type introduced struct {
	net.Conn
	known bool
}

// Read implements net.Conn.
func (c *introduced) Read(p []byte) (int, error) {
	for line := []byte{}; !c.known; c.known = line[len(line)-1] == '\n' {
		at := len(line)
		line = append(line, 0)
		if _, err := io.ReadFull(c.Conn, line[at:]); err != nil {
			return 0, err
		}
		if text := string(line); !strings.HasPrefix("PROXY ", text) && !strings.HasPrefix(text, "PROXY ") {
			return 0, errors.New("no PROXY header")
		}
	}
	return c.Conn.Read(p)
}

// A server may serve clients by a listener that nodes can't use, and nodes by one of their own.
func TestNodesHaveAListenerOfTheirOwn(t *testing.T) {
	second := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	forNodes := second.Listener
	forClients, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	second.Listener = proxied{forClients}
	second.Start()
	defer second.Close()
	served := make(chan error, 1)
	go func() { served <- second.Config.Serve(forNodes) }()

	conn, err := net.Dial("tcp", forClients.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "PROXY TCP4 203.0.113.9 10.0.0.7 5000 80\r\nGET / HTTP/1.0\r\n\r\n")
	if got, _ := io.ReadAll(conn); !strings.HasSuffix(string(got), "hello") {
		t.Errorf("a client: got %q", got)
	}
	for _, tt := range []struct {
		at   net.Listener
		want string
	}{{forNodes, "200 hello"}, {forClients, "400 400 Bad Request"}} {
		transport := Plain()
		f := New(Config{StuckFor: time.Second, Transport: transport, Nodes: func(context.Context) ([]broker.Node, error) {
			return []broker.Node{{ID: "node-002", URL: "http://" + tt.at.Addr().String()}}, nil
		}})
		w := httptest.NewRecorder()
		f.Serve(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/poll", nil), "node-002")
		transport.CloseIdleConnections()
		if got := fmt.Sprint(w.Code, " ", w.Body); got != tt.want {
			t.Errorf("another node: got %q, want %q", got, tt.want)
		}
	}
	_ = second.Config.Close()
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}
