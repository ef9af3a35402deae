package forward

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// stream is what a handler has of a stream of HTTP/2.
type stream struct {
	header http.Header
	status chan int
	*io.PipeWriter
}

func (s stream) Header() http.Header    { return s.header }
func (s stream) WriteHeader(status int) { s.status <- status }
func (stream) Flush()                   {}

// A WebSocket on a stream of HTTP/2 is one of HTTP/1.1 to the other node.
func TestAWebSocketOnHTTP2IsForwarded(t *testing.T) {
	p := newPair(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Secret") == "" {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, "no")
			return
		}
		got := []string{r.Method, r.RequestURI, r.Host, r.Header.Get("Upgrade"), r.Header.Get("Sec-WebSocket-Version"), r.Header.Get("Secret")}
		if want := "GET /socket/websocket?x=%2F app.example websocket 13 "; strings.Join(got[:5], " ")+" " != want || r.Header.Get("Sec-WebSocket-Key") == "" {
			t.Errorf("got %q, want %q", got, want)
		}
		echo(t, w)
	})
	open := func(secret string) (s stream, in *bufio.Reader, out *io.PipeWriter, ended chan bool) {
		body, out := io.Pipe()
		answered, in2 := io.Pipe()
		s = stream{http.Header{}, make(chan int, 1), in2}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodConnect, "http://app.example/socket/websocket?x=%2F", body)
		r.RequestURI, r.Host = "/socket/websocket?x=%2F", "app.example"
		r.Header[protocol] = []string{"websocket"}
		r.Header.Set("Sec-WebSocket-Version", "13")
		if secret != "" {
			r.Header.Set("Secret", secret)
		}
		ended = make(chan bool, 1)
		go func() {
			answered := p.forwarder.Serve(s, r, "node-002")
			_ = body.Close() // as net/http does
			_ = in2.Close()
			ended <- answered
		}()
		return s, bufio.NewReader(answered), out, ended
	}

	s, in, out, ended := open("secret")
	if got := <-s.status; got != http.StatusOK || s.header.Get("Sec-WebSocket-Protocol") != "chime.v1" || s.header.Get("Upgrade") != "" || s.header.Get("Sec-WebSocket-Accept") != "" {
		t.Errorf("got %d %v", got, s.header)
	}
	for _, said := range []string{"one\n", strings.Repeat("x", 3*smallBuffer) + "\n"} {
		_, _ = io.WriteString(out, said)
		if got, err := in.ReadString('\n'); got != "heard "+said || err != nil {
			t.Errorf("got %.20q, %v", got, err)
		}
	}
	_ = out.Close()
	if rest, err := io.ReadAll(in); len(rest) > 0 || err != nil || !<-ended {
		t.Errorf("got %q, %v when the client has ended it", rest, err)
	}

	s, in, _, ended = open("")
	if got := <-s.status; got != http.StatusServiceUnavailable || s.header.Get("Retry-After") != "1" {
		t.Errorf("got %d %v", got, s.header)
	}
	if body, _ := io.ReadAll(in); string(body) != "no" || !<-ended {
		t.Errorf("got %q", body)
	}

	s, in, _, ended = open("drained")
	<-s.status
	p.forwarder.Drain(t.Context(), over(0))
	if rest, err := io.ReadAll(in); len(rest) > 0 || err != nil || !<-ended {
		t.Errorf("got %q, %v when the node shuts down", rest, err)
	}
}
