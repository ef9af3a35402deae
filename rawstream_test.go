package chime_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// rawStream is a reader of event streams, by the letter of WHATWG HTML,
// section 9.2, and stricter than that: what chime never sends is an error.
type rawStream struct {
	t    *testing.T
	conn net.Conn
	head *answer
	r    *bufio.Reader
	crlf bool // a CR was the last byte: an LF that follows belongs to it
}

// streamEvent is one event of a stream.
type streamEvent struct {
	id, data, retry string
}

// stream asks for an event stream and returns whatever is answered.
func (s *rawSite) stream(t *testing.T, target string, header ...string) *rawStream {
	t.Helper()
	conn := s.connect(t)
	res := s.requestOn(t, conn, http.MethodGet, target, "", header...)
	return &rawStream{t: t, conn: conn, head: res, r: bufio.NewReader(res.Body)}
}

// bare opens a stream without chime headers.
func (s *rawSite) bare(t *testing.T, query string, header ...string) *rawStream {
	t.Helper()
	return s.stream(t, "/socket/sse?"+query, header...).opened()
}

// half opens a stream of the chime dialect, whose other half are POSTs with the
// secret that is returned.
func (s *rawSite) half(t *testing.T, header ...string) (*rawStream, string) {
	t.Helper()
	es := s.stream(t, "/socket/sse", append(header, "Chime-Received: 0")...).opened()
	return es, secretIn(t, es.next().data)
}

func (es *rawStream) opened() *rawStream {
	es.t.Helper()
	if es.head.StatusCode != http.StatusOK || es.head.Header.Get("Content-Type") != "text/event-stream" {
		body, _ := io.ReadAll(es.head.Body)
		es.t.Fatalf("stream: got %s %s %s, want 200 text/event-stream", es.head.Status, es.head.Header.Get("Content-Type"), clip(string(body)))
	}
	return es
}

// line returns the next line; LF, CR and CRLF all end one.
func (es *rawStream) line() (string, error) {
	var b strings.Builder
	for {
		c, err := es.r.ReadByte()
		if err != nil {
			return b.String(), err
		}
		after := es.crlf
		es.crlf = c == '\r'
		switch {
		case c == '\n' && after:
		case c == '\n' || c == '\r':
			return b.String(), nil
		default:
			b.WriteByte(c)
		}
	}
}

// read returns the next event that has data or retry.
func (es *rawStream) read() (streamEvent, error) {
	var e streamEvent
	seen := map[string]bool{}
	for {
		line, err := es.line()
		if err != nil {
			if errors.Is(err, io.EOF) && (line != "" || len(seen) > 0) {
				err = io.ErrUnexpectedEOF
			}
			return streamEvent{}, err
		}
		if line == "" {
			if len(seen) > 0 {
				return e, nil
			}
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		if name != "" && seen[name] {
			return streamEvent{}, fmt.Errorf("a second %s line in one event: %q", name, clip(line))
		}
		switch name {
		case "": // a comment
			continue
		case "id":
			e.id = value
		case "data":
			e.data = value
		case "retry":
			e.retry = value
		default:
			return streamEvent{}, fmt.Errorf("a line that chime never sends: %q", clip(line))
		}
		seen[name] = true
	}
}

// next returns the next event.
func (es *rawStream) next() streamEvent {
	es.t.Helper()
	e, err := es.read()
	if err != nil {
		es.t.Fatalf("stream: %v, want an event", err)
	}
	return e
}

// want compares the data of the next events.
func (es *rawStream) want(data ...string) {
	es.t.Helper()
	for _, want := range data {
		if got := es.next().data; got != want {
			es.t.Fatalf("got  %s\nwant %s", clip(got), clip(want))
		}
	}
}

// wantClosed expects the event that says why a stream ends, and the end.
func (es *rawStream) wantClosed(code int, reason string) {
	es.t.Helper()
	es.want(fmt.Sprintf(`[null,null,"chime","closed",{"code":%d,"reason":%q}]`, code, reason))
	if e, err := es.read(); !errors.Is(err, io.EOF) {
		es.t.Errorf("got %+v and %v, want the end of the stream", e, err)
	}
}

// post sends the other half of a stream.
func (s *rawSite) post(t *testing.T, secret, body string, header ...string) *answer {
	t.Helper()
	return s.request(t, http.MethodPost, "/socket/sse", body, append(header, "Chime-Secret: "+secret)...)
}

const joinHall = `["1","1","hall:1","phx_join",{"as":"attacker"}]`

// wantApplied expects that a POST was taken, and what is applied by now. How
// much the server has sent meanwhile is not for the test to know.
func wantApplied(t *testing.T, res *answer, applied int) {
	t.Helper()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Errorf("reading the answer: %v", err)
	}
	var got struct{ Applied, Sent *int }
	if res.StatusCode != http.StatusOK || json.Unmarshal(text, &got) != nil || got.Applied == nil || got.Sent == nil || *got.Applied != applied {
		t.Errorf("got %d %s, want 200 with %d applied", res.StatusCode, clip(string(text)), applied)
	}
}

// wantBatchRefused expects a 400 that names a frame and, if it is given, a reason.
func wantBatchRefused(t *testing.T, res *answer, frame int, reason string) {
	t.Helper()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Errorf("reading the answer: %v", err)
	}
	var got struct {
		Frame  *int
		Reason string
	}
	if res.StatusCode != http.StatusBadRequest || json.Unmarshal(text, &got) != nil || got.Frame == nil || *got.Frame != frame ||
		got.Reason == "" || reason != "" && got.Reason != reason {
		t.Errorf("got %d %s, want 400 with frame %d and reason %q", res.StatusCode, clip(string(text)), frame, reason)
	}
}

// witness sits in hall:1, on a WebSocket and on a stream, while others attack.
type witness struct {
	t  *testing.T
	s  *rawSite
	ws *rawSocket
	es *rawStream
	n  int
}

func (s *rawSite) witness(t *testing.T) *witness {
	t.Helper()
	return s.watch(t, "/socket")
}

// watch is witness, where the router is mounted elsewhere.
func (s *rawSite) watch(t *testing.T, mount string) *witness {
	t.Helper()
	w := &witness{
		t: t, s: s,
		ws: s.upgrade(t, mount+"/websocket?vsn=2.0.0").opened().join("hall:1", "witness"),
		es: s.stream(t, mount+"/sse?join=hall:1&as=watcher").opened(),
	}
	w.es.want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
	return w
}

// hears expects an event that somebody else sent.
func (w *witness) hears(frame string) {
	w.t.Helper()
	w.ws.want(frame)
	w.es.want(frame)
}

// isWell broadcasts: the witness must get this, and nothing in between.
func (w *witness) isWell() {
	w.t.Helper()
	w.n++
	if err := w.s.live.Broadcast(w.t.Context(), "hall:1", "tick", map[string]int{"n": w.n}); err != nil {
		w.t.Fatalf("broadcast: %v", err)
	}
	w.hears(tick(w.n))
}

// tick is a broadcast of isWell.
func tick(n int) string { return fmt.Sprintf(`[null,null,"hall:1","tick",{"n":%d}]`, n) }
