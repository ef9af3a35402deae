package forward

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/leak"
	"github.com/go-chime/chime/internal/mono"
)

func TestMain(m *testing.M) { leak.Main(m) }

// pair is two nodes: what comes to the first, for the second, is forwarded there.
type pair struct {
	forwarder *Forwarder
	second    *httptest.Server
	front     *httptest.Server
	failed    error // of Nodes
	unnamed   bool  // the second
	unserved  chan *http.Request
}

func newPair(t *testing.T, second http.HandlerFunc) *pair {
	p := &pair{unserved: make(chan *http.Request, 1)}
	p.second = httptest.NewServer(second)
	transport := &http.Transport{}
	p.forwarder = New(Config{
		Self: broker.Node{ID: "node-001"}, Transport: transport, StuckFor: 10 * time.Second,
		Nodes: func(context.Context) ([]broker.Node, error) {
			list := []broker.Node{{ID: "node-001", URL: "http://127.0.0.1:1"}, {ID: "nowhere1"}}
			if !p.unnamed {
				list = append(list, broker.Node{ID: "node-002", URL: p.second.URL})
			}
			return list, p.failed
		},
	})
	p.front = httptest.NewServer(http.StripPrefix("/app", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !p.forwarder.Serve(w, r, r.Header.Get("For")) {
			p.unserved <- r
			w.WriteHeader(http.StatusGone)
		}
	})))
	t.Cleanup(func() {
		p.forwarder.Drain(t.Context(), over(0))
		if err := p.forwarder.Wait(context.Background()); err != nil {
			t.Error(err)
		}
		p.front.Close()
		p.second.Close()
		transport.CloseIdleConnections()
		http.DefaultClient.CloseIdleConnections()
	})
	return p
}

// over is a window, of however many.
func over(window time.Duration) func(int) time.Duration {
	return func(int) time.Duration { return window }
}

func (p *pair) request(t *testing.T, method, node, body string, headers ...string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, p.front.URL+"/app/socket/sse?x=%2F", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "app.example"
	r.Header.Set("For", node)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func TestTheOtherNodeSeesTheRequestOfTheClient(t *testing.T) {
	p := newPair(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got := []string{r.Method, r.RequestURI, r.Host, string(body), r.Header.Get("Chime-Secret"), r.Header.Get("Authorization"), r.Header.Get("X-Forwarded-Proto"), strings.Join(r.Header.Values("X-Forwarded-For"), ","), r.Header.Get(header)}
		want := []string{"POST", "/app/socket/sse?x=%2F", "app.example", "frames", "secret", "Bearer x", "https", "203.0.113.9,127.0.0.1", "node-001"}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("got %q, want %q", got[i], want[i])
			}
		}
		w.Header().Set("Answered", "by the second")
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "hello")
	})
	resp := p.request(t, "POST", "node-002", "frames", "Chime-Secret", "secret", "Authorization", "Bearer x", "X-Forwarded-Proto", "https", "X-Forwarded-For", "203.0.113.9")
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusTeapot || string(body) != "hello" || resp.Header.Get("Answered") == "" {
		t.Errorf("got %d %q %v", resp.StatusCode, body, resp.Header)
	}
}

func TestWhatIsNotForwarded(t *testing.T) {
	p := newPair(t, func(http.ResponseWriter, *http.Request) { t.Error("the second node was asked") })
	for _, c := range []struct {
		what, node string
		headers    []string
	}{
		{"a client of this node", "node-001", nil},
		{"a client of a node that is not up", "node-009", nil},
		{"a client of a node that says not where it is", "nowhere1", nil},
		{"what was forwarded before", "node-002", []string{header, "node-003"}},
	} {
		resp := p.request(t, "POST", c.node, "x", c.headers...)
		resp.Body.Close()
		if <-p.unserved; resp.StatusCode != http.StatusGone {
			t.Errorf("%s: got %s, want that this node answers", c.what, resp.Status)
		}
	}
}

func TestANodeThatCantBeReachedHasNoClients(t *testing.T) {
	p := newPair(t, nil)
	p.second.Close()
	for range 2 {
		resp := p.request(t, "GET", "node-002", "")
		resp.Body.Close()
		if <-p.unserved; resp.StatusCode != http.StatusGone {
			t.Errorf("got %s, want that this node answers", resp.Status)
		}
	}
}

// The clients of a machine that is lost come all at once, and each dial takes its time.
func TestANodeThatCantBeReachedIsNotDialledForAWhile(t *testing.T) {
	var dials atomic.Int32
	f := New(Config{StuckFor: time.Second, Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		dials.Add(1)
		return nil, &net.OpError{Op: "dial", Err: errors.New("no route")}
	}}, Nodes: func(context.Context) ([]broker.Node, error) {
		return []broker.Node{{ID: "node-002", URL: "http://10.0.0.7:4000"}}, nil
	}})
	for range 10 {
		if f.Serve(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), "GET", "/socket/poll", nil), "node-002") {
			t.Error("answered, want that this node answers")
		}
	}
	if n := dials.Load(); n != 1 {
		t.Errorf("dialled %d times, want once", n)
	}
	f.nodes.places["node-002"].quiet = 0
	f.Serve(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), "GET", "/socket/poll", nil), "node-002")
	if n := dials.Load(); n != 2 {
		t.Errorf("dialled %d times, want once more after a while", n)
	}
}

func TestANodeThatEndsInTheMiddleIsSaidNotToAnswer(t *testing.T) {
	p := newPair(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_ = conn.Close()
	})
	resp := p.request(t, "POST", "node-002", "frames")
	resp.Body.Close()
	if resp.StatusCode != http.StatusBadGateway || resp.Header.Get("Retry-After") == "" {
		t.Errorf("got %s %v, want 502 and when to come back: it may have been taken", resp.Status, resp.Header)
	}
}

func TestNodesAreWhereTheyWereWhileTheBrokerIsAway(t *testing.T) {
	p := newPair(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	p.request(t, "GET", "node-002", "").Body.Close()
	p.failed = errors.New("away")
	p.forwarder.nodes.known = 0
	resp := p.request(t, "GET", "node-002", "")
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Errorf("got %s, want the answer of the second node", resp.Status)
	}
}

// A client socket that is there must not be taken to be gone.
func TestWhatNobodyKnowsIsNotSaidToBeGone(t *testing.T) {
	p := newPair(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	p.failed = errors.New("away")
	resp := p.request(t, "GET", "node-002", "")
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("got %s, want 503: nobody says which nodes there are", resp.Status)
	}
	p.failed = nil
	p.forwarder.nodes.known = 0
	p.request(t, "GET", "node-002", "").Body.Close()
	p.unnamed = true // by a broker that has forgotten it
	p.forwarder.nodes.known = 0
	resp = p.request(t, "GET", "node-002", "")
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Errorf("got %s, want the answer of a node that was up", resp.Status)
	}
	p.forwarder.nodes.places["node-002"].heard -= mono.Instant(tried + 1)
	p.forwarder.nodes.known = 0
	p.request(t, "GET", "node-002", "").Body.Close()
	<-p.unserved
}

// A node that has just begun has clients at once.
func TestANodeThatHasJustBegunIsFound(t *testing.T) {
	p := newPair(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	p.unnamed = true
	p.request(t, "GET", "node-002", "").Body.Close()
	<-p.unserved
	p.unnamed = false
	p.forwarder.nodes.known -= mono.Instant(hasty)
	resp := p.request(t, "GET", "node-002", "")
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Errorf("got %s, want the answer of the node", resp.Status)
	}
}

func TestAStreamIsForwardedAsItComesAndADrainEndsIt(t *testing.T) {
	say := make(chan string)
	p := newPair(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		rc := http.NewResponseController(w)
		for {
			_ = rc.Flush()
			select {
			case s := <-say:
				_, _ = io.WriteString(w, s+"\n")
			case <-r.Context().Done():
				return
			}
		}
	})
	resp := p.request(t, "GET", "node-002", "")
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for _, s := range []string{"one", "two"} {
		say <- s
		if !lines.Scan() || lines.Text() != s {
			t.Fatalf("got %q, %v, want %q", lines.Text(), lines.Err(), s)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	p.forwarder.Drain(ctx, over(20*time.Millisecond))
	if err := p.forwarder.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	if lines.Scan() {
		t.Errorf("got %q after the drain", lines.Text())
	}
	again := p.request(t, "GET", "node-002", "")
	again.Body.Close()
	if <-p.unserved; again.StatusCode != http.StatusGone {
		t.Errorf("after the drain: got %s, want that nothing is forwarded", again.Status)
	}
}

// echo takes over the connection, and answers each line until there is none.
func echo(t *testing.T, w http.ResponseWriter) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chime.v1\r\n\r\n")
	for {
		line, err := rw.ReadString('\n')
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, "heard "+line)
	}
}

func TestAnUpgradeIsForwarded(t *testing.T) {
	p := newPair(t, func(w http.ResponseWriter, _ *http.Request) { echo(t, w) })
	wantEcho(t, p.front.Listener.Addr())
}

// wantEcho upgrades a connection, and wants that echo is at its end.
func wantEcho(t *testing.T, at net.Addr) {
	t.Helper()
	conn, err := net.Dial("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET /app/socket/websocket HTTP/1.1\r\nHost: app.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nFor: node-002\r\n\r\n")
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %v, %v", resp, err)
	}
	defer resp.Body.Close()
	_, _ = io.WriteString(conn, "ping\n")
	if line, err := r.ReadString('\n'); line != "heard ping\n" {
		t.Errorf("got %q, %v", line, err)
	}
}

func TestAPostIsSentToANodeAsOfTheClient(t *testing.T) {
	p := newPair(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("Authorization") != "Bearer x" || r.URL.Path != "/app/socket/wait" {
			t.Errorf("got %v %v", r.URL, r.Header)
		}
		if string(body) == "no" {
			w.WriteHeader(http.StatusForbidden)
		}
		_, _ = io.WriteString(w, "answer to "+string(body))
	})
	r := httptest.NewRequestWithContext(t.Context(), "POST", "/app/socket/wait", strings.NewReader("the client's own"))
	r.Header.Set("Authorization", "Bearer x")
	if got, err := p.forwarder.Post(t.Context(), r, "node-002", []byte("ids")); string(got) != "answer to ids" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	for _, c := range []struct{ node, body string }{{"node-002", "no"}, {"node-009", "ids"}} {
		if _, err := p.forwarder.Post(t.Context(), r, c.node, []byte(c.body)); err == nil {
			t.Errorf("%v: got no error", c)
		}
	}
	p.forwarder.Drain(t.Context(), over(0))
	if _, err := p.forwarder.Post(t.Context(), r, "node-002", nil); !errors.Is(err, errClosed) {
		t.Errorf("after a drain: got %v, want %v", err, errClosed)
	}
}
