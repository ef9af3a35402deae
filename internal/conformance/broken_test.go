package conformance_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-chime/chime/internal/conformance"
)

// fault is a way for a server to be wrong: what it reads, answers and writes.
type fault struct {
	name    string
	group   string // of the checks of which one must fail
	slow    bool
	endless bool // a WebSocket may be silent
	answers bool // and a stream: somebody answers for its client

	request func(*http.Request)
	status  func(int) int
	frame   func(text string) []string // what becomes of a frame; a close frame is "close" and its code
}

func replace(old, with string) func(string) []string {
	return func(text string) []string { return []string{strings.Replace(text, old, with, 1)} }
}

// nth has f work on every n-th frame that matches, of all connections.
func nth(n int64, match string, f func(string) []string) func(string) []string {
	var seen atomic.Int64
	re := regexp.MustCompile(match)
	return func(text string) []string {
		if re.MatchString(text) && seen.Add(1)%n == 0 {
			return f(text)
		}
		return []string{text}
	}
}

func dropped(string) []string      { return nil }
func doubled(text string) []string { return []string{text, text} }

func every(pattern, with string) func(string) []string {
	re := regexp.MustCompile(pattern)
	return func(text string) []string { return []string{re.ReplaceAllString(text, with)} }
}

func answers(was, is int) func(int) int {
	return func(status int) int {
		if status == was {
			return is
		}
		return status
	}
}

func forgetSecret(r *http.Request) {
	if r.Method == http.MethodGet {
		r.Header.Del("Chime-Secret")
		r.Header.Set("Sec-WebSocket-Protocol", "chime.v1")
	}
}

const retained = `^\[null,"@`

var faults = []fault{
	{name: "a hello without grace_ms", group: "hello:", frame: every(`"grace_ms":\d+,`, "")},
	{name: "a hello that is not the first frame", group: "hello:", frame: nth(1, `"hello"`, func(text string) []string {
		return []string{`[null,null,"chime","heartbeat",{}]`, `[null,null,"phoenix","x",{}]`, text}
	})},
	{name: "400 for what is not there", group: "requests:", status: answers(404, 400)},
	{name: "pages of all origins", group: "origin:", request: func(r *http.Request) {
		r.Header.Del("Origin")
		r.Header.Del("Sec-Fetch-Site")
	}},
	{name: "pages of no origin", group: "origin:", request: func(r *http.Request) {
		if r.Header.Get("Origin") != "" {
			r.Header.Set("Origin", "null")
		}
	}},
	{name: "no phx_close", group: "frames:", frame: nth(1, `"phx_close"`, dropped)},
	{name: "a broadcast with a join_ref", group: "frames:", frame: every(retained, `["1","@`)},
	{name: "six elements", group: "frames:", frame: every(`\]$`, `,1]`)},
	{name: "a line break in a frame", group: "frames:", frame: every(`\]$`, "\n]")},
	{name: "no reply to heartbeats", group: "frames:", frame: nth(1, `"phoenix","phx_reply"`, dropped)},
	{name: "another reason for an unknown topic", group: "frames:", frame: replace("unmatched topic", "not found")},
	{name: "any number of topics", group: "limits:", frame: replace(`"error","response":{"reason":"too many channels joined"}`, `"ok","response":{}`)},
	{name: "a retained message is lost", group: "history:", frame: nth(3, retained, dropped)},
	{name: "a retained message comes twice", group: "history:", frame: nth(3, retained, doubled)},
	{name: "another epoch", group: "history:", frame: every(`"epoch":"[^"]*"`, `"epoch":"never"`)},
	{name: "the join begins elsewhere", group: "history:", frame: every(`"offset":(\d+)`, `"offset":1$1`)},
	{name: "all is recovered", group: "history:", frame: replace(`"recovered":false`, `"recovered":true`)},
	{name: "nothing is older", group: "history: older", frame: replace(`"more":true`, `"more":false`)},
	{name: "a page without the messages", group: "history: older", frame: every(`"messages":\[.*\]`, `"messages":[]`)},
	{name: "another reason for a malformed limit", group: "history: a malformed", frame: replace("malformed limit", "internal")},
	{name: "200 for a gap", group: "POST:", status: answers(409, 200)},
	{name: "200 for a batch that is none", group: "POST:", status: answers(400, 200)},
	{name: "400 for an unknown secret", group: "POST:", status: answers(410, 400)},
	{name: "numbers of events that begin with 0", group: "POST:", frame: every(`^id: 1$`, "id: 0")},
	{name: "a bye that says what it has done", group: "bye:", status: answers(204, 200)},
	{name: "nothing is resumed", group: "resume:", request: forgetSecret},
	{name: "200 for a Chime-Received that is no number", group: "resume: a Chime-Received", request: func(r *http.Request) {
		if r.Header.Get("Chime-Received") != "" {
			r.Header.Set("Chime-Received", "0")
		}
	}},
	{name: "nothing says moved", group: "resume:", frame: nth(1, `"moved"`, dropped)},
	{name: "hello has received less than it did", group: "resume:", frame: every(`"received":[1-9]`, `"received":0`)},
	{name: "1000 for a frame that is none", group: "ends:", frame: replace("close1007", "close1000")},
	{name: "no frame says the end", group: "ends:", frame: nth(1, `"chime","closed"`, dropped)},
	{name: "a bye that no frame says", group: "bye:", frame: nth(1, `"chime","closed"`, dropped)},
	{name: "1007 for a large one", group: "ends:", frame: replace("close1009", "close1007")},
	{name: "another reason for a rate", group: "rates: a join", frame: replace("rate_limited", "internal")},
	{name: "a join beyond the rate without its join_ref", group: "rates: a join", frame: func(text string) []string {
		if strings.Contains(text, "rate_limited") {
			text = regexp.MustCompile(`^\["[^"]*"`).ReplaceAllString(text, "[null")
		}
		return []string{text}
	}},
	{name: "1001 for who goes on regardless", group: "rates: a client", frame: replace("close1008", "close1001")},
	{name: "no heartbeats", group: "heartbeats:", slow: true, frame: nth(1, `"heartbeat"`, dropped)},
	{name: "heartbeats without numbers", group: "heartbeats:", slow: true, frame: every(`"heartbeat",.*`, `"heartbeat",{}]`)},
	{name: "heartbeats in a quiet room alone", group: "heartbeats: come in a busy", slow: true, frame: nth(1, `"heartbeat"`, dropped)},
	{name: "a silent client is waited for", group: "silence: a connection without", slow: true, endless: true},
	{name: "a silent stream is waited for", group: "silence: a connection without", slow: true, answers: true},
	{name: "a stream whose client receives nothing is waited for", group: "silence: a stream", slow: true, answers: true},
	{name: "an answer to a heartbeat is not heard", group: "silence: a connection on which", slow: true, request: func(r *http.Request) {
		if r.Method == http.MethodPost {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(strings.NewReader(regexp.MustCompile(`"received":\d+,"frames":\[\]`).ReplaceAllString(string(body), `"received":0,"frames":[]`)))
		}
	}},
	{name: "a reply is lost", group: "cuts:", frame: nth(3, `"phx_reply"`, dropped)}, // often: a cut may hide one
	{name: "a reply comes twice", group: "cuts:", frame: nth(3, `"phx_reply"`, doubled)},
}

func TestABrokenServerFails(t *testing.T) {
	whole := fault{frame: func(text string) []string { return []string{text} }}
	for _, r := range results(t, whole.behind, conformance.Config{Slow: true}) {
		if r.Err != nil {
			t.Errorf("behind what spoils nothing: %s: %v", r.Name, r.Err)
		}
	}
	for _, f := range faults {
		t.Run(f.group+" "+f.name, func(t *testing.T) {
			var failed []string
			for _, r := range results(t, f.behind, conformance.Config{Slow: f.slow, Only: f.group}) {
				if r.Err != nil && !errors.Is(r.Err, conformance.ErrSkipped) {
					failed = append(failed, r.Name)
					t.Log(r.Name, r.Err)
				}
			}
			if len(failed) == 0 {
				t.Error("all checks pass")
			}
		})
	}
}

// behind returns a server with the fault around a good one.
func (f fault) behind(good http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f.request != nil {
			f.request(r)
		}
		good.ServeHTTP(&spoilt{ResponseWriter: w, fault: f, good: good}, r)
	})
}

// spoilt spoils what a handler writes. An event stream stays on it, since only
// a WebSocket is given the connection.
type spoilt struct {
	http.ResponseWriter
	fault
	good   http.Handler
	rest   string
	secret string // of the client, if it is answered for
}

// answer acknowledges what a heartbeat says to have been sent.
func (s *spoilt) answer(text string) {
	if found := regexp.MustCompile(`"secret":"([^"]*)"`).FindStringSubmatch(text); found != nil {
		s.secret = found[1]
	}
	if found := regexp.MustCompile(`"heartbeat",{"sent":(\d+),"received":(\d+)`).FindStringSubmatch(text); found != nil {
		received, _ := strconv.Atoi(found[2])
		r := httptest.NewRequest(http.MethodPost, "http://chime.test/socket/sse", strings.NewReader(fmt.Sprintf(`{"first":%d,"received":%s,"frames":[]}`, received+1, found[1])))
		r.Header.Set("Chime-Secret", s.secret)
		s.good.ServeHTTP(httptest.NewRecorder(), r)
	}
}

func (s *spoilt) WriteHeader(status int) {
	if s.fault.status != nil {
		status = s.fault.status(status)
	}
	s.ResponseWriter.WriteHeader(status)
}

func (s *spoilt) Flush() { s.ResponseWriter.(http.Flusher).Flush() }

func (s *spoilt) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if strings.HasPrefix(s.Header().Get("Content-Type"), "text/event-stream") {
		return nil, nil, http.ErrNotSupported
	}
	conn, rw, err := s.ResponseWriter.(http.Hijacker).Hijack()
	return &spoiltConn{Conn: conn, fault: s.fault}, rw, err
}

// Write spoils the events of a stream, and leaves all else as it is.
func (s *spoilt) Write(p []byte) (int, error) {
	stream := s.Header().Get("Content-Type") == "text/event-stream"
	if stream && s.answers {
		s.answer(string(p))
	}
	if s.frame == nil || !stream {
		return s.ResponseWriter.Write(p)
	}
	s.rest += string(p)
	for {
		event, rest, whole := strings.Cut(s.rest, "\n\n")
		if !whole {
			return len(p), nil
		}
		s.rest = rest
		head, text, isFrame := strings.Cut(event, "data: ")
		events := []string{event}
		if isFrame {
			events = nil
			for _, text := range s.frame(text) {
				id := strings.Join(s.frame(strings.TrimSuffix(head, "\n")), "")
				if id != "" {
					id += "\n"
				}
				events = append(events, id+"data: "+text)
			}
		}
		for _, e := range events {
			if _, err := s.ResponseWriter.Write([]byte(e + "\n\n")); err != nil {
				return 0, err
			}
		}
	}
}

// spoiltConn spoils the frames of a WebSocket.
type spoiltConn struct {
	net.Conn
	fault
	rest []byte
}

func (c *spoiltConn) SetReadDeadline(at time.Time) error {
	if c.endless {
		return nil
	}
	return c.Conn.SetReadDeadline(at)
}

func (c *spoiltConn) Write(p []byte) (int, error) {
	if c.frame == nil {
		return c.Conn.Write(p)
	}
	c.rest = append(c.rest, p...)
	for len(c.rest) >= 2 {
		size, head := int(c.rest[1]), 2
		if size == 126 && len(c.rest) >= 4 {
			size, head = int(binary.BigEndian.Uint16(c.rest[2:])), 4
		}
		if len(c.rest) < head+size {
			break
		}
		opcode, payload := c.rest[0], c.rest[head:head+size]
		c.rest = c.rest[head+size:]
		out := [][]byte{payload}
		switch {
		case opcode == 0x81:
			out = nil
			for _, text := range c.frame(string(payload)) {
				out = append(out, []byte(text))
			}
		case opcode == 0x88 && len(payload) >= 2:
			code := strconv.Itoa(int(binary.BigEndian.Uint16(payload)))
			n, _ := strconv.Atoi(strings.TrimPrefix(c.frame("close" + code)[0], "close"))
			out = [][]byte{append(binary.BigEndian.AppendUint16(nil, uint16(n)), payload[2:]...)}
		}
		for _, payload := range out {
			frame := []byte{opcode, 126, byte(len(payload) >> 8), byte(len(payload))}
			if opcode != 0x81 {
				frame = []byte{opcode, byte(len(payload))}
			}
			if _, err := c.Conn.Write(append(frame, payload...)); err != nil {
				return 0, err
			}
		}
	}
	return len(p), nil
}
