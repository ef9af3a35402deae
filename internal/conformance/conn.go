package conformance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// frame is one frame of the server.
type frame struct {
	joinRef, ref string // "" is null
	topic, event string
	payload      json.RawMessage
	number       uint64 // of the event on a stream; 0 is none
}

func (f frame) String() string {
	return fmt.Sprintf("[%q,%q,%q,%q,%s]", f.joinRef, f.ref, f.topic, f.event, f.payload)
}

func (f frame) counted() bool { return f.topic != "chime" && f.topic != "phoenix" }

// parse reads a frame as strictly as the page describes what a server writes.
func parse(text []byte) (frame, error) {
	var elements []json.RawMessage
	if err := json.Unmarshal(text, &elements); err != nil || len(elements) != 5 || bytes.ContainsAny(text, "\r\n") || elements[4][0] != '{' {
		return frame{}, fmt.Errorf("frame %.200q: want one line, 5 elements, and an object as payload", text)
	}
	f := frame{payload: elements[4]}
	for i, field := range []*string{&f.joinRef, &f.ref, &f.topic, &f.event} {
		if json.Unmarshal(elements[i], field) != nil || elements[i][0] != '"' && (i > 1 || string(elements[i]) != "null") {
			return frame{}, fmt.Errorf("frame %.200q: element %d: want a string", text, i)
		}
	}
	return f, nil
}

// hello is the first frame of a connection.
type hello struct {
	ID          string         `json:"id"`
	Secret      string         `json:"secret"`
	HeartbeatMS int            `json:"heartbeat_ms"`
	GraceMS     *int           `json:"grace_ms"`
	Limits      map[string]int `json:"limits"`
	Transports  []string       `json:"transports"`
	Resumed     *bool          `json:"resumed"`
	Received    *uint64        `json:"received"`
	Sent        *uint64        `json:"sent"`
}

func (h hello) heartbeat() time.Duration { return time.Duration(h.HeartbeatMS) * time.Millisecond }

// silence is the time without a sign of life after which a connection is broken.
func (h hello) silence() time.Duration { return 2*h.heartbeat() + 5*time.Second }

func (h hello) complete(kind string) bool {
	limits := min(h.Limits["message_bytes"], h.Limits["batch_bytes"], h.Limits["batch_messages"], h.Limits["topics"])
	return h.ID != "" && len(h.Secret) >= 22 && h.HeartbeatMS > 0 && h.GraceMS != nil && limits > 0 &&
		slices.Contains(h.Transports, kind) && h.Resumed != nil && h.Received != nil && h.Sent != nil
}

// conn is one connection.
type conn struct {
	t      *try
	kind   string
	ws     *websocket.Conn // nil on a stream
	header http.Header     // of the answer
	abort  func()          // without a farewell
	hello  hello

	in    chan frame // closed at the end, which the next four describe
	ended bool
	code  int // 0 is a broken connection
	why   string
	said  int   // the code that a frame has said
	wrong error // what is no frame

	sent, received uint64 // counted frames of the client socket, so far
}

// refused is another answer than the one that was wanted.
type refused struct {
	status int
	body   string
}

func (r *refused) Error() string { return fmt.Sprintf("answered %d %s", r.status, r.body) }

func (t *try) answerOf(res *http.Response) *refused {
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	t.works("answer", err)
	return &refused{res.StatusCode, string(text)}
}

func (t *try) request(ctx context.Context, method, path, body string, header ...string) *http.Request {
	r, err := http.NewRequestWithContext(ctx, method, t.base.JoinPath(path).String(), strings.NewReader(body))
	t.works("request", err)
	if t.Token != "" {
		r.Header.Set("Authorization", "Bearer "+t.Token)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

// answered fails unless the answer to a request has this status, and a text in its body.
func (t *try) answered(status int, text, method, path, body string, header ...string) {
	ctx, cancel := context.WithTimeout(t.ctx, wait) // a stream that is opened instead does not end
	defer cancel()
	res, err := t.http.Do(t.request(ctx, method, path, body, header...)) //nolint:bodyclose // answerOf does
	t.works(method+" "+path, err)
	if got := t.answerOf(res); got.status != status || !strings.Contains(got.body, text) {
		t.fail("%s %s with %.100s: %w: want %d and %s", method, path, body, got, status, text)
	}
}

// dial opens a connection and reads its hello. Without a secret it is a new
// client socket. Header is for the request.
func (t *try) dial(kind, secret string, received uint64, header ...string) *conn {
	c := &conn{t: t, kind: kind, in: make(chan frame, 10_000), received: received}
	if kind == onWebSocket {
		c.openWebSocket(secret, header)
	} else {
		c.openStream(secret, header)
	}
	f := c.next()
	if f.topic != "chime" || f.event != "hello" || json.Unmarshal(f.payload, &c.hello) != nil || !c.hello.complete(kind) {
		t.fail("the first frame is not a complete hello: %s", f)
	}
	c.sent = *c.hello.Received
	return c
}

func (c *conn) openWebSocket(secret string, header []string) {
	protocols := []string{"chime.v1"}
	if secret != "" {
		protocols = append(protocols, "chime.secret."+secret)
	}
	r := c.t.request(c.t.ctx, http.MethodGet, "websocket", "", header...)
	ctx, cancel := context.WithTimeout(c.t.ctx, wait)
	defer cancel()
	ws, res, err := websocket.Dial(ctx, r.URL.String(), &websocket.DialOptions{HTTPClient: c.t.http, HTTPHeader: r.Header, Subprotocols: protocols}) //nolint:bodyclose // a refusal has one, and answerOf closes it
	if err != nil && res != nil && res.StatusCode != http.StatusSwitchingProtocols {
		c.t.fail("open a WebSocket: %w", c.t.answerOf(res))
	}
	c.t.works("open a WebSocket", err)
	ws.SetReadLimit(1 << 20)
	c.ws, c.header, c.abort = ws, res.Header, func() { _ = ws.CloseNow() }
	c.t.proxy.working.Go(func() {
		defer close(c.in)
		defer c.abort()
		for {
			_, text, err := ws.Read(c.t.ctx)
			if closed, ok := errors.AsType[websocket.CloseError](err); ok {
				c.code, c.why = int(closed.Code), closed.Reason
			}
			if err != nil || !c.take(text, 0) {
				return
			}
		}
	})
}

// take hands on a frame, or reports false.
func (c *conn) take(text []byte, number uint64) bool {
	f, err := parse(text)
	if f.number = number; err == nil {
		c.in <- f
	}
	c.wrong = err
	return err == nil
}

func (c *conn) openStream(secret string, header []string) {
	header = append(header, "Chime-Received", strconv.FormatUint(c.received, 10))
	if secret != "" {
		header = append(header, "Chime-Secret", secret)
	}
	ctx, cancel := context.WithCancel(c.t.ctx)
	res, err := c.t.http.Do(c.t.request(ctx, http.MethodGet, "sse", "", header...))
	c.t.works("open a stream", err)
	if res.StatusCode != http.StatusOK {
		c.t.fail("open a stream: %w", c.t.answerOf(res))
	}
	c.header, c.abort = res.Header, cancel
	c.t.proxy.working.Go(func() {
		defer close(c.in)
		defer func() { _ = res.Body.Close() }()
		lines, data, number := bufio.NewReader(res.Body), "", uint64(0)
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return // an event that has not ended is none
			}
			switch field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": "); {
			case field == "id" && data == "":
				number, _ = strconv.ParseUint(value, 10, 64)
			case field == "data" && data == "":
				data = value
			case line == "\n":
				if data != "" && !c.take([]byte(data), number) {
					return
				}
				data, number = "", 0
			case line[0] != ':':
				c.wrong = fmt.Errorf("stream has the line %q: want id, one data and comments", line)
				return
			}
		}
	})
}

// read returns the next frame and checks its number. It reports false if none
// comes in time, or, with c.ended, none any more.
func (c *conn) read(wait time.Duration) (frame, bool) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	var f frame
	ok := false
	select {
	case f, ok = <-c.in:
		c.ended = !ok
	case <-timer.C:
	}
	switch {
	case c.ended && c.wrong != nil:
		c.t.fail("%w", c.wrong)
	case ok && f.topic == "chime" && f.event == "closed":
		var p struct {
			Code   int
			Reason string
		}
		_ = json.Unmarshal(f.payload, &p)
		if c.said = p.Code; c.kind == onStream {
			c.code, c.why = p.Code, p.Reason // the end of the body follows
		}
		return c.read(wait)
	}
	number := uint64(0)
	if f.counted() && ok {
		c.received++
		number = c.received
	}
	if ok && c.kind == onStream && f.number != number {
		c.t.fail("%s has the number %d, want %d", f, f.number, number)
	}
	if ok && f.counted() && !strings.HasPrefix(f.event, "phx_") && f.event != c.t.Event {
		return c.read(wait) // what the channel says of its own accord: who is present, perhaps
	}
	return f, ok
}

// next returns the next frame but heartbeats.
func (c *conn) next() frame {
	f, ok := c.read(wait)
	switch {
	case c.ended:
		c.t.fail("next frame: %w with %d %s", errBroken, c.code, c.why)
	case !ok:
		c.t.fail("next frame: nothing came in %v", wait)
	case f.topic == "chime" && f.event == "heartbeat":
		return c.next()
	}
	return f
}

// ends fails unless the client socket ends with a code, which a frame says, and the
// connection carries nothing counted before.
func (c *conn) ends(code int) {
	c.endsAlone(wait, code, "")
	if c.said != code {
		c.t.fail("the connection ended with %d, and before it a frame has said %d", code, c.said)
	}
}

// endsAlone is ends for a connection, and not for its client socket. Any reason will do
// for an empty one.
func (c *conn) endsAlone(within time.Duration, code int, why string) {
	for start := time.Now(); !c.ended; {
		if f, ok := c.read(within - time.Since(start)); ok && f.counted() || !ok && !c.ended {
			c.t.fail("got %s, want the end of the connection in %v", f, within)
		}
	}
	if c.code != code || why != "" && c.why != why {
		c.t.fail("got the end %d %q, want %d %q", c.code, c.why, code, why)
	}
}

// send sends frames: on a stream in one POST.
func (c *conn) send(frames ...string) { c.sendFrom(c.sent+1, frames...) }

func (c *conn) sendFrom(first uint64, frames ...string) {
	n := first - 1
	for _, text := range frames {
		if f, err := parse([]byte(text)); err != nil || f.counted() {
			n++
		}
	}
	c.sent = max(c.sent, n)
	if c.kind == onStream {
		c.posts(batch(first, c.received, frames...), 200, fmt.Sprintf(`"applied":%d,`, c.sent))
		return
	}
	for _, text := range frames {
		c.t.works("send", c.ws.Write(c.t.ctx, websocket.MessageText, []byte(text)))
	}
}

// promote makes a resumed connection carry the client socket.
func (c *conn) promote() { c.acknowledges() }

// acknowledges says how many counted frames have come.
func (c *conn) acknowledges() {
	if c.kind == onStream {
		c.send()
	} else {
		c.send(encode(nil, nil, "chime", "ack", fields{"received": c.received}))
	}
}

// posts fails unless the answer to a POST with its secret has this status, and a text in its body.
func (c *conn) posts(body string, status int, text string) {
	c.t.answered(status, text, "POST", "sse", body, "Chime-Secret", c.hello.Secret)
}

func batch(first, received uint64, frames ...string) string {
	return fmt.Sprintf(`{"first":%d,"received":%d,"frames":[%s]}`, first, received, strings.Join(frames, ","))
}

type fields map[string]any

// encode writes a frame of a client.
func encode(elements ...any) string {
	text, _ := json.Marshal(elements)
	return string(text)
}
