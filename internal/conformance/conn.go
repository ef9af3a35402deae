package conformance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
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

// offset is the position of a retained message.
func (f frame) offset() (uint64, bool) {
	text, ok := strings.CutPrefix(f.ref, "@")
	n, err := strconv.ParseUint(text, 10, 64)
	return n, ok && err == nil
}

// parse reads a frame as strictly as the page describes what a server writes.
func parse(text []byte) (frame, error) {
	var elements []json.RawMessage
	if err := json.Unmarshal(text, &elements); err != nil || len(elements) != 5 {
		return frame{}, fmt.Errorf("frame %.200q is not an array of 5 elements", text)
	}
	if bytes.ContainsAny(text, "\r\n") || elements[4][0] != '{' {
		return frame{}, fmt.Errorf("frame %.200q is not one line with an object as payload", text)
	}
	var f frame
	for i, field := range []*string{&f.joinRef, &f.ref, &f.topic, &f.event} {
		if string(elements[i]) == "null" && i < 2 {
			continue
		}
		if err := json.Unmarshal(elements[i], field); err != nil || elements[i][0] != '"' {
			return frame{}, fmt.Errorf("frame %.200q: element %d is not a string", text, i)
		}
	}
	f.payload = elements[4]
	return f, nil
}

// hello is the first frame of a connection.
type hello struct {
	ID          string `json:"id"`
	Secret      string `json:"secret"`
	HeartbeatMS int    `json:"heartbeat_ms"`
	GraceMS     *int   `json:"grace_ms"`
	Limits      struct {
		MessageBytes  int `json:"message_bytes"`
		BatchBytes    int `json:"batch_bytes"`
		BatchMessages int `json:"batch_messages"`
		Topics        int `json:"topics"`
	} `json:"limits"`
	Transports []string `json:"transports"`
	Resumed    *bool    `json:"resumed"`
	Received   *uint64  `json:"received"`
	Sent       *uint64  `json:"sent"`
}

func (h hello) heartbeat() time.Duration { return time.Duration(h.HeartbeatMS) * time.Millisecond }
func (h hello) grace() time.Duration     { return time.Duration(*h.GraceMS) * time.Millisecond }

func (h hello) complete(kind string) bool {
	return h.ID != "" && len(h.Secret) >= 22 && h.HeartbeatMS > 0 && h.GraceMS != nil && h.Resumed != nil && h.Received != nil && h.Sent != nil &&
		min(h.Limits.MessageBytes, h.Limits.BatchBytes, h.Limits.BatchMessages, h.Limits.Topics) > 0 && slices.Contains(h.Transports, kind)
}

// conn is one connection.
type conn struct {
	t      *try
	kind   string
	ws     *websocket.Conn
	cancel context.CancelFunc // of a stream
	header http.Header        // of the answer
	hello  hello

	in   chan frame // closed at the end
	code int        // of the end, once in is closed; 0 is a broken connection
	why  string
	err  error // of a frame that is none

	sent, received uint64 // counted frames of the client socket, so far
}

// refused is a connection that was answered otherwise.
type refused struct {
	status int
	reason string
}

func (r *refused) Error() string { return fmt.Sprintf("refused with %d %s", r.status, r.reason) }

func (t *try) address(path string) string { return t.base.JoinPath(path).String() }

func (t *try) request(method, path, body string, header ...string) *http.Request {
	r := must[*http.Request](t, "request")(http.NewRequestWithContext(t.ctx, method, t.address(path), strings.NewReader(body)))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	if t.Token != "" {
		r.Header.Set("Authorization", "Bearer "+t.Token)
	}
	return r
}

// do returns the answer to a request, with its body.
func (t *try) do(method, path, body string, header ...string) (int, string, http.Header, error) {
	res, err := t.http.Do(t.request(method, path, body, header...))
	if err != nil {
		return 0, "", nil, err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	return res.StatusCode, string(text), res.Header, err
}

// dial opens a connection and reads its hello. Without a secret it is a new
// client socket. Header is for the request.
func (t *try) dial(kind, secret string, received uint64, header ...string) (*conn, error) {
	c := &conn{t: t, kind: kind, in: make(chan frame, 10_000), received: received}
	open := c.openWebSocket
	if kind == onStream {
		open = c.openStream
	}
	if err := open(secret, header); err != nil {
		return nil, err
	}
	f, err := c.recv(t.Wait)
	if err != nil {
		return nil, fmt.Errorf("hello: %w", err)
	}
	if f.topic != "chime" || f.event != "hello" || json.Unmarshal(f.payload, &c.hello) != nil || !c.hello.complete(kind) {
		return nil, fmt.Errorf("the first frame is not a complete hello: %s", f)
	}
	c.sent = *c.hello.Received
	return c, nil
}

func (t *try) open(kind string) *conn {
	c := must[*conn](t, "open "+kind)(t.dial(kind, "", 0))
	want(t, "resumed of a new client socket", *c.hello.Resumed, false)
	return c
}

// resume opens a connection with the secret of another, and promotes nothing.
func (t *try) resume(kind, secret string, received uint64) *conn {
	c := must[*conn](t, "resume on "+kind)(t.dial(kind, secret, received))
	want(t, "resumed", *c.hello.Resumed, true)
	return c
}

// over fails unless the client socket of a secret has ended.
func (t *try) over(kind, secret string) {
	c := must[*conn](t, "come back")(t.dial(kind, secret, 0))
	want(t, "resumed after the end of the client socket", *c.hello.Resumed, false)
}

func (c *conn) openWebSocket(secret string, header []string) error {
	protocols := []string{"chime.v1"}
	if secret != "" {
		protocols = append(protocols, "chime.secret."+secret)
	}
	if c.t.Token != "" {
		protocols = append(protocols, "base64url.bearer.phx."+base64.RawURLEncoding.EncodeToString([]byte(c.t.Token)))
	}
	h := c.t.request(http.MethodGet, "websocket", "", header...).Header
	ctx, cancel := context.WithTimeout(c.t.ctx, c.t.Wait)
	defer cancel()
	ws, res, err := websocket.Dial(ctx, c.t.address("websocket"), &websocket.DialOptions{HTTPClient: c.t.http, HTTPHeader: h, Subprotocols: protocols})
	if err != nil {
		if res != nil && res.StatusCode != http.StatusSwitchingProtocols {
			text, _ := io.ReadAll(res.Body)
			return &refused{res.StatusCode, string(text)}
		}
		return err
	}
	ws.SetReadLimit(1 << 20)
	c.ws, c.header = ws, res.Header
	c.t.proxy.working.Go(func() {
		defer close(c.in)
		for {
			_, text, err := ws.Read(c.t.ctx)
			if err != nil {
				if closed, ok := errors.AsType[websocket.CloseError](err); ok {
					c.code, c.why = int(closed.Code), closed.Reason
				}
				_ = ws.CloseNow()
				return
			}
			if !c.take(text, 0) {
				return
			}
		}
	})
	return nil
}

// take hands on a frame, or ends the connection with an error.
func (c *conn) take(text []byte, number uint64) bool {
	f, err := parse(text)
	if err != nil {
		c.err = err
		return false
	}
	f.number = number
	c.in <- f
	return true
}

func (c *conn) openStream(secret string, header []string) error {
	header = append(header, "Chime-Received", strconv.FormatUint(c.received, 10))
	if secret != "" {
		header = append(header, "Chime-Secret", secret)
	}
	r := c.t.request(http.MethodGet, "sse", "", header...)
	ctx, cancel := context.WithCancel(r.Context())
	c.cancel = cancel
	res, err := c.t.http.Do(r.WithContext(ctx))
	if err != nil {
		cancel()
		return err
	}
	if res.StatusCode != http.StatusOK {
		defer cancel()
		defer func() { _ = res.Body.Close() }()
		text, _ := io.ReadAll(res.Body)
		return &refused{res.StatusCode, string(text)}
	}
	c.header = res.Header
	c.t.proxy.working.Go(func() {
		defer close(c.in)
		defer func() { _ = res.Body.Close() }()
		lines := bufio.NewReader(res.Body)
		var number uint64
		var data string
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
				number, data = 0, ""
			case line[0] == ':':
			default:
				c.err = fmt.Errorf("stream has the line %q, want id, one data and comments", line)
				return
			}
		}
	})
	return nil
}

// recv returns the next frame but heartbeats. It checks the numbers.
func (c *conn) recv(wait time.Duration) (frame, error) {
	for {
		f, err := c.any(wait)
		if err != nil || f.topic != "chime" || f.event != "heartbeat" {
			return f, err
		}
	}
}

// any is recv with heartbeats.
func (c *conn) any(wait time.Duration) (frame, error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case f, ok := <-c.in:
		switch {
		case !ok && c.err != nil:
			return f, c.err
		case !ok:
			return f, fmt.Errorf("%w with %d %q", errEnded, c.code, c.why)
		case f.topic == "chime" && f.event == "closed":
			var p struct {
				Code   int
				Reason string
			}
			_ = json.Unmarshal(f.payload, &p)
			c.code, c.why = p.Code, p.Reason // the end of the body follows
			return c.any(wait)
		case f.counted():
			c.received++
		}
		if number := uint64(0); c.kind == onStream {
			if f.counted() {
				number = c.received
			}
			if f.number != number {
				return f, fmt.Errorf("%s has the number %d, want %d", f, f.number, number)
			}
		}
		return f, nil
	case <-timer.C:
		return frame{}, errNothing
	}
}

func (c *conn) next() frame { return must[frame](c.t, "next frame")(c.recv(c.t.Wait)) }

// ends reads up to the end of the connection, and returns its code. A new frame
// on the way is a failure, unless it is on the topic chime.
func (c *conn) ends(wait time.Duration) (int, string) {
	for {
		f, err := c.any(wait)
		switch {
		case errors.Is(err, errNothing), c.err != nil:
			c.t.fail("end of the connection: %w", err)
		case err != nil:
			return c.code, c.why
		case f.counted():
			c.t.fail("got %s, want the end of the connection", f)
		}
	}
}

// send sends frames: on a stream in one POST.
func (c *conn) send(frames ...string) {
	if err := c.trySend(c.sent+1, frames...); err != nil {
		c.t.fail("send on %s: %w", c.kind, err)
	}
}

// trySend is send from a number on.
func (c *conn) trySend(first uint64, frames ...string) error {
	n := first - 1
	for _, text := range frames {
		if f, err := parse([]byte(text)); err != nil || f.counted() {
			n++
		}
	}
	c.sent = max(c.sent, n)
	if c.kind == onWebSocket {
		for _, text := range frames {
			if err := c.ws.Write(c.t.ctx, websocket.MessageText, []byte(text)); err != nil {
				return err
			}
		}
		return nil
	}
	status, body, err := c.post(batch(first, c.received, frames...))
	if err == nil && (status != http.StatusOK || !strings.Contains(body, fmt.Sprintf(`"applied":%d,`, c.sent))) {
		err = fmt.Errorf("want 200 and applied %d: %w", c.sent, &refused{status, body})
	}
	return err
}

// promote is the first word on a resumed connection.
func (c *conn) promote() {
	if c.kind == onWebSocket {
		c.send(encode(nil, nil, "chime", "ack", fields{"received": c.received}))
		return
	}
	c.send()
}

func (c *conn) post(body string) (int, string, error) {
	status, text, _, err := c.t.do(http.MethodPost, "sse", body, "Chime-Secret", c.hello.Secret)
	return status, text, err
}

// refuses fails unless a POST is answered with a status, and a text in its body.
func (c *conn) refuses(body string, status int, text string) {
	got, answer, err := c.post(body)
	if err != nil || got != status || !strings.Contains(answer, text) {
		c.t.fail("POST %.100s: got %d %s %v, want %d and %s", body, got, answer, err, status, text)
	}
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
