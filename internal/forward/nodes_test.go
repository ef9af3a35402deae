package forward

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/broker"
)

// tripper answers what is forwarded.
type tripper func(*http.Request) (*http.Response, error)

func (t tripper) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

// there answers as a node that is there.
func there(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusNoContent, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
}

// silent is a node that was reached and says nothing.
func silent(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// bubble returns a Forwarder beside one other node, and what asks it in a bubble.
func bubble(t *testing.T, nodes func(context.Context) error, trip tripper) (f *Forwarder, serve func(node string) *httptest.ResponseRecorder) {
	f = New(Config{Self: broker.Node{ID: "node-001"}, Transport: trip, StuckFor: time.Second, Nodes: func(ctx context.Context) ([]broker.Node, error) {
		return []broker.Node{{ID: "node-002", URL: "http://node-002"}}, nodes(ctx)
	}})
	return f, func(node string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/sse", nil)
		if !f.Serve(w, r, node) {
			w.WriteHeader(http.StatusGone)
		}
		return w
	}
}

// Anybody can make up secrets, and one request can name clients of many nodes.
func TestTheBrokerIsAskedOnceForMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asks atomic.Int32
		_, serve := bubble(t, func(context.Context) error {
			asks.Add(1)
			time.Sleep(time.Second)
			return nil
		}, there)
		answers := make(chan int)
		for range 64 {
			go func() { answers <- serve("made-up1").Code }()
		}
		for range 64 {
			if got := <-answers; got != http.StatusGone {
				t.Errorf("got %d, want that this node answers", got)
			}
		}
		if n := asks.Load(); n != 1 {
			t.Errorf("asked %d times, want once", n)
		}
	})
}

func TestANodeThatIsKnownDoesNotWaitForABrokerThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := false
		_, serve := bubble(t, func(ctx context.Context) error {
			if hangs {
				<-ctx.Done()
			}
			return ctx.Err()
		}, there)
		serve("node-002")
		time.Sleep(fresh + time.Millisecond)
		hangs = true
		for range 30 {
			began := time.Now()
			if got := serve("node-002").Code; got != http.StatusNoContent || time.Since(began) > 0 {
				t.Errorf("got %d after %v, want the answer of the node at once", got, time.Since(began))
			}
			time.Sleep(time.Second)
		}
	})
}

// Anybody can make up secrets, and each would have a connection of its own wait.
func TestABrokerThatHangsIsNotWaitedForByOneAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, serve := bubble(t, func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}, there)
		for i := range 20 {
			began := time.Now()
			got, took := serve("made-up1").Code, time.Since(began)
			if want := time.Duration(0); got != http.StatusServiceUnavailable || i == 0 && took != askWait || i > 0 && took != want {
				t.Errorf("request %d: got %d after %v, want 503, and that only the first waits", i, got, took)
			}
			time.Sleep(fresh / 40)
		}
	})
}

func TestWhoIsGoneDoesNotFailTheQuestionOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, serve := bubble(t, func(ctx context.Context) error {
			select {
			case <-time.After(time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}, there)
		ctx, cancel := context.WithCancel(t.Context())
		go f.find(ctx, httptest.NewRequestWithContext(ctx, http.MethodGet, "/sse", nil), "node-002")
		synctest.Wait()
		cancel()
		if got := serve("node-002").Code; got != http.StatusNoContent {
			t.Errorf("got %d, want the answer of the node", got)
		}
	})
}

func TestANodeThatSaysNothingIsNotWaitedForWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, serve := bubble(t, func(context.Context) error { return nil }, silent)
		began := time.Now()
		if got := serve("node-002").Code; got != http.StatusBadGateway || time.Since(began) != patience {
			t.Errorf("got %d after %v, want 502 after %v", got, time.Since(began), patience)
		}
	})
}

func TestAStreamThatHasBegunIsNotEndedByPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, serve := bubble(t, func(context.Context) error { return nil }, func(r *http.Request) (*http.Response, error) {
			resp, err := there(r)
			in, out := io.Pipe()
			context.AfterFunc(r.Context(), func() { _ = in.CloseWithError(context.Cause(r.Context())) })
			resp.StatusCode, resp.Body, resp.ContentLength = http.StatusOK, in, -1
			go func() {
				time.Sleep(2 * patience)
				_, _ = io.WriteString(out, "late")
				_ = out.CloseWithError(io.EOF)
			}()
			return resp, err
		})
		if got := serve("node-002"); got.Body.String() != "late" {
			t.Errorf("got %q, want all of it", got.Body)
		}
	})
}

// Middleware runs on both nodes, and speaks of one answer.
func TestAHeaderThatBothNodesSetComesOnce(t *testing.T) {
	p := newPair(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Vary", "Origin")
		w.Header().Set("Set-Cookie", "b=2")
	})
	inner := p.front.Config.Handler
	p.front.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"Content-Type", "Vary", "X-Front"} {
			w.Header().Set(name, "of middleware")
		}
		w.Header().Set("Set-Cookie", "a=1")
		inner.ServeHTTP(w, r)
	})
	resp := p.request(t, "GET", "node-002", "")
	resp.Body.Close()
	for name, want := range map[string]string{"Content-Type": "text/event-stream", "Vary": "Origin", "X-Front": "of middleware", "Set-Cookie": "a=1;b=2"} {
		if got := strings.Join(resp.Header.Values(name), ";"); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// What a client can read is for it to say. The answer to a Post is for this node.
func TestNobodyAsksForCompressionInTheNameOfAClient(t *testing.T) {
	wanted := make(chan string, 2)
	second := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { wanted <- r.Header.Get("Accept-Encoding") }))
	defer second.Close()
	f := New(Config{StuckFor: time.Second, Nodes: func(context.Context) ([]broker.Node, error) {
		return []broker.Node{{ID: "node-002", URL: second.URL}}, nil
	}})
	defer f.config.Transport.(*http.Transport).CloseIdleConnections()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/sse", nil)
	if !f.Serve(httptest.NewRecorder(), r, "node-002") {
		t.Fatal("not forwarded")
	}
	r.Header.Set("Accept-Encoding", "gzip, br")
	if _, err := f.Post(t.Context(), r, "node-002", nil); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	for _, what := range []string{"Serve", "Post"} {
		if got := <-wanted; got != "" {
			t.Errorf("%s: got Accept-Encoding %q, want none", what, got)
		}
	}
}

// Nodes may reach each other without TLS.
func TestTheOtherNodeIsToldOfTLS(t *testing.T) {
	f := New(Config{Self: broker.Node{ID: "node-001"}})
	for _, c := range []struct {
		over  *tls.ConnectionState
		given string
		want  string
	}{{nil, "", ""}, {&tls.ConnectionState{}, "", "https"}, {&tls.ConnectionState{}, "http", "http"}} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/sse", nil)
		if r.TLS = c.over; c.given != "" {
			r.Header.Set("X-Forwarded-Proto", c.given)
		}
		h := http.Header{}
		if f.mark(h, r, &place{}); h.Get("X-Forwarded-Proto") != c.want {
			t.Errorf("%+v: got %q", c, h.Get("X-Forwarded-Proto"))
		}
	}
}
