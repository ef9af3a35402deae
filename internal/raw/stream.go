package raw

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Stream is a reader of event streams, by the letter of WHATWG HTML,
// section 9.2, and stricter than that: what chime never sends is an error.
type Stream struct {
	T    *testing.T
	Conn net.Conn
	Head *Answer
	R    *bufio.Reader
	crlf bool          // a CR was the last byte: an LF that follows belongs to it
	wait time.Duration // for an event; 0 is no bound
}

// Event is one event of a stream.
type Event struct {
	id, Data, Retry string
}

// Stream asks for an event stream and returns whatever is answered.
func (s *Site) Stream(t *testing.T, target string, header ...string) *Stream {
	t.Helper()
	conn := s.Connect(t)
	res := s.RequestOn(t, conn, http.MethodGet, target, "", header...)
	return &Stream{T: t, Conn: conn, Head: res, R: bufio.NewReader(res.Body), wait: s.Wait}
}

// Bare opens a stream without chime headers.
func (s *Site) Bare(t *testing.T, query string, header ...string) *Stream {
	t.Helper()
	return s.Stream(t, "/socket/sse?"+query, header...).Opened()
}

// Half opens a stream of the chime dialect, whose other half are POSTs with the
// secret that is returned.
func (s *Site) Half(t *testing.T, header ...string) (*Stream, string) {
	t.Helper()
	es := s.Stream(t, "/socket/sse", append(header, "Chime-Received: 0")...).Opened()
	return es, SecretIn(t, es.Next().Data)
}

func (es *Stream) Opened() *Stream {
	es.T.Helper()
	if es.Head.StatusCode != http.StatusOK || es.Head.Header.Get("Content-Type") != "text/event-stream" {
		body, _ := io.ReadAll(es.Head.Body)
		es.T.Fatalf("stream: got %s %s %s, want 200 text/event-stream", es.Head.Status, es.Head.Header.Get("Content-Type"), Clip(string(body)))
	}
	return es
}

// line returns the next line; LF, CR and CRLF all end one.
func (es *Stream) line() (string, error) {
	var b strings.Builder
	for {
		c, err := es.R.ReadByte()
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

// Read returns the next event that has data or retry.
func (es *Stream) Read() (Event, error) {
	var e Event
	seen := map[string]bool{}
	begun := time.Now()
	for {
		line, err := es.line()
		if err != nil {
			if errors.Is(err, io.EOF) && (line != "" || len(seen) > 0) {
				err = io.ErrUnexpectedEOF
			}
			return Event{}, err
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
			return Event{}, fmt.Errorf("a second %s line in one event: %q", name, Clip(line))
		}
		switch name {
		case "": // a comment, of which a silent stream has one after the other
			if es.wait > 0 && time.Since(begun) > es.wait {
				return Event{}, fmt.Errorf("no event for %v", es.wait)
			}
			continue
		case "id":
			e.id = value
		case "data":
			e.Data = value
		case "retry":
			e.Retry = value
		default:
			return Event{}, fmt.Errorf("a line that chime never sends: %q", Clip(line))
		}
		seen[name] = true
	}
}

// Next returns the next event.
func (es *Stream) Next() Event {
	es.T.Helper()
	e, err := es.Read()
	if err != nil {
		es.T.Fatalf("stream: %v, want an event", err)
	}
	return e
}

// Want compares the data of the next events.
func (es *Stream) Want(data ...string) {
	es.T.Helper()
	for _, want := range data {
		if got := es.Next().Data; got != want {
			es.T.Fatalf("got  %s\nwant %s", Clip(got), Clip(want))
		}
	}
}

// WantLater wants a stream that says no more than when to come back: after 2 to 6 s.
func (es *Stream) WantLater() {
	es.T.Helper()
	e, err := es.Opened().Read()
	ms, noNumber := strconv.Atoi(e.Retry)
	if err != nil || noNumber != nil || e.Data != "" || ms < 2000 || ms >= 6000 {
		es.T.Errorf("got %+v and error %v, want a retry between 2000 and 6000", e, err)
	}
	if e, err := es.Read(); err == nil {
		es.T.Errorf("got %+v, want the end", e)
	}
}

// Early reads the second bytes of a stream, which come a moment after its beginning. What
// nobody reads fills a pipe, which has no buffer, and so looks like a client that is stuck.
func (es *Stream) Early() *Stream {
	es.T.Helper()
	for {
		if line, err := es.line(); err != nil || line != "" && line[0] != ':' {
			es.T.Fatalf("got %q and error %v, want an empty comment", line, err)
		} else if line == ":" {
			return es
		}
	}
}

// WantClosed expects the event that says why a stream ends, and the end.
func (es *Stream) WantClosed(code int, reason string) {
	es.T.Helper()
	es.Want(fmt.Sprintf(`[null,null,"chime","closed",{"code":%d,"reason":%q}]`, code, reason))
	if e, err := es.Read(); !errors.Is(err, io.EOF) {
		es.T.Errorf("got %+v and %v, want the end of the stream", e, err)
	}
}

// Post sends the other half of a stream.
func (s *Site) Post(t *testing.T, secret, body string, header ...string) *Answer {
	t.Helper()
	return s.Request(t, http.MethodPost, "/socket/sse", body, append(header, "Chime-Secret: "+secret)...)
}

const JoinHall = `["1","1","hall:1","phx_join",{"as":"attacker"}]`

// WantApplied expects that a POST was taken, and what is applied by now. How
// much the server has sent meanwhile is not for the test to know.
func (res *Answer) WantApplied(t *testing.T, applied int) {
	t.Helper()
	text := res.text(t)
	var got struct{ Applied, Sent *int }
	if res.StatusCode != http.StatusOK || json.Unmarshal([]byte(text), &got) != nil || got.Applied == nil || got.Sent == nil || *got.Applied != applied {
		t.Errorf("got %d %s, want 200 with %d applied", res.StatusCode, Clip(text), applied)
	}
}

// WantBatchRefused expects a 400 that names a frame and, if it is given, a reason.
func (res *Answer) WantBatchRefused(t *testing.T, frame int, reason string) {
	t.Helper()
	text := res.text(t)
	var got struct {
		Frame  *int
		Reason string
	}
	if res.StatusCode != http.StatusBadRequest || json.Unmarshal([]byte(text), &got) != nil || got.Frame == nil || *got.Frame != frame ||
		got.Reason == "" || reason != "" && got.Reason != reason {
		t.Errorf("got %d %s, want 400 with frame %d and reason %q", res.StatusCode, Clip(text), frame, reason)
	}
}

// Witness sits in hall:1, on a WebSocket and on a stream, while others attack.
type Witness struct {
	t  *testing.T
	s  *Site
	Ws *Socket
	Es *Stream
	N  int
}

func (s *Site) Witness(t *testing.T) *Witness {
	t.Helper()
	return s.Watch(t, "/socket")
}

// Watch is witness, where the router is mounted elsewhere.
func (s *Site) Watch(t *testing.T, mount string, header ...string) *Witness {
	t.Helper()
	w := &Witness{
		t: t, s: s,
		Ws: s.Upgrade(t, mount+"/websocket?vsn=2.0.0", header...).Opened().Join("hall:1", "witness"),
		Es: s.Stream(t, mount+"/sse?join=hall:1&as=watcher", header...).Opened(),
	}
	w.Es.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
	return w
}

// Hears expects an event that somebody else sent.
func (w *Witness) Hears(frame string) {
	w.t.Helper()
	w.Ws.Want(frame)
	w.Es.Want(frame)
}

// IsWell broadcasts: the witness must get this, and nothing in between.
func (w *Witness) IsWell() {
	w.t.Helper()
	w.N++
	if err := w.s.Live.Broadcast(w.t.Context(), "hall:1", "tick", map[string]int{"n": w.N}); err != nil {
		w.t.Fatalf("broadcast: %v", err)
	}
	w.Hears(Tick(w.N))
}

// Tick is a broadcast of isWell.
func Tick(n int) string { return fmt.Sprintf(`[null,null,"hall:1","tick",{"n":%d}]`, n) }
