package chaos

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// helloWait is how long a client waits for the beginning of a connection.
const helloWait = 10 * time.Second

// frame is one frame of the server, and the id of the event that it came in.
type frame struct {
	joinRef, ref, topic, event string
	payload                    json.RawMessage
	id                         string
}

func parseFrame(text []byte) (frame, error) {
	var f frame
	var joinRef, ref *string
	if err := json.Unmarshal(text, &[]any{&joinRef, &ref, &f.topic, &f.event, &f.payload}); err != nil {
		return f, fmt.Errorf("frame %.100s: %w", text, err)
	}
	if joinRef != nil {
		f.joinRef = *joinRef
	}
	if ref != nil {
		f.ref = *ref
	}
	return f, nil
}

// offset is that of a retained message, and 0 of any other.
func (f frame) offset() uint64 {
	at, ok := strings.CutPrefix(f.ref, "@")
	if !ok {
		return 0
	}
	n, _ := strconv.ParseUint(at, 10, 64)
	return n
}

// reply is the payload of one.
type reply struct {
	Status   string
	Response struct {
		Reason  string
		Offset  uint64 // of what was pushed
		History *struct {
			Epoch     string
			Offset    uint64
			Recovered *bool
		} `json:"@history"`
	}
}

func (f frame) reply() (reply, error) {
	var r reply
	err := json.Unmarshal(f.payload, &r)
	return r, err
}

// encode makes a frame of a client. An empty join_ref or ref is null.
func encode(joinRef, ref, topic, event string, payload any) string {
	mark := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	text, err := json.Marshal([]any{mark(joinRef), mark(ref), topic, event, payload})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// endError is the end of a connection; code 0 is that of the network.
type endError struct {
	code   int
	reason string
	err    error
}

func (e *endError) Error() string { return fmt.Sprintf("%d %s: %v", e.code, e.reason, e.err) }

// endOf is the end that an error is.
func endOf(err error) *endError {
	if end, ok := errors.AsType[*endError](err); ok {
		return end
	}
	if end, ok := errors.AsType[websocket.CloseError](err); ok {
		return &endError{int(end.Code), end.Reason, err}
	}
	return &endError{err: err}
}

// refusedError is the answer to a connect that was not accepted.
type refusedError struct {
	status int
	body   string
}

func (e *refusedError) Error() string { return fmt.Sprintf("refused: %d %s", e.status, e.body) }

// passes reports whether the same request may be answered later.
func (e *refusedError) passes() bool {
	return e.status == http.StatusTooManyRequests || e.status == http.StatusBadGateway || e.status == http.StatusServiceUnavailable
}

func refusal(res *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(res.Body, 1<<10))
	return &refusedError{res.StatusCode, string(body)}
}

// connection is a WebSocket, an event stream, or the polls of a client.
type connection struct {
	link  *link // of the first two
	parse func(text []byte) (frame, error)
	ws    *websocket.Conn // or
	es    *bufio.Reader   // with body, or
	polls *polls
	body  io.Closer
}

// dialSocket opens a WebSocket.
func (p *peer) dialSocket(target string, protocols ...string) (*connection, error) {
	l, err := p.stage.net.dial(p.fault())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), helloWait)
	defer cancel()
	ws, res, err := websocket.Dial(ctx, p.stage.url+target, &websocket.DialOptions{HTTPClient: l.client(), HTTPHeader: p.head(), Subprotocols: protocols}) //nolint:bodyclose // the connection takes it over
	if err != nil {
		defer l.cut()
		if res != nil && res.StatusCode != http.StatusSwitchingProtocols {
			return nil, refusal(res)
		}
		return nil, err
	}
	ws.SetReadLimit(-1)
	return &connection{link: l, parse: p.dialect.parse, ws: ws}, nil
}

// dialStream opens an event stream. Head is a list of names and values.
func (p *peer) dialStream(target string, head ...string) (*connection, error) {
	l, err := p.stage.net.dial(p.fault())
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequest(http.MethodGet, p.stage.url+target, nil)
	if err != nil {
		return nil, err
	}
	req.Header = p.head(head...)
	late := time.AfterFunc(helloWait, l.cut)
	defer late.Stop()
	res, err := l.client().Do(req) //nolint:bodyclose // it is read as long as the connection lasts
	if err != nil {
		l.cut()
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		defer l.cut()
		return nil, refusal(res)
	}
	return &connection{link: l, parse: parseFrame, es: bufio.NewReader(res.Body), body: res.Body}, nil
}

// read returns the next frame.
func (c *connection) read() (frame, error) {
	if c.polls != nil {
		return c.polls.read()
	}
	if c.ws != nil {
		for {
			_, text, err := c.ws.Read(context.Background())
			if err != nil {
				return frame{}, err
			}
			if string(text) != "ping" { // Amber's heartbeat
				return c.parse(text)
			}
		}
	}
	var f frame
	var id string
	var data []byte
	for {
		line, err := c.es.ReadBytes('\n')
		if err != nil {
			return f, err
		}
		line = line[:len(line)-1]
		name, value, _ := strings.Cut(string(line), ": ")
		switch {
		case name == "id":
			id = value
		case name == "data":
			data = []byte(value)
		case len(line) == 0 && data != nil:
			if f, err = c.parse(data); err != nil {
				return f, err
			}
			f.id = id
			return f, f.end()
		}
	}
}

// end is the end of a connection if the frame says so, and nil of any other.
func (f frame) end() error {
	if f.topic != "chime" || f.event != "closed" {
		return nil
	}
	end := &endError{err: io.EOF}
	_ = json.Unmarshal(f.payload, &struct {
		Code   *int
		Reason *string
	}{&end.code, &end.reason})
	return end
}

// readHello returns the first frame, which is to come in time.
func (c *connection) readHello() (frame, error) {
	late := time.AfterFunc(helloWait, c.cut)
	defer late.Stop()
	return c.read()
}

// write writes to a WebSocket. Whoever reads finds out when it fails.
func (c *connection) write(text string) bool {
	return c.ws.Write(context.Background(), websocket.MessageText, []byte(text)) == nil
}

// drop ends the connection without a farewell.
func (c *connection) drop() {
	switch c.cut(); {
	case c.polls != nil:
		c.polls.drop()
	case c.ws != nil:
		_ = c.ws.CloseNow()
	default:
		_ = c.body.Close()
	}
}

// cut breaks the link, and so the connection, unless it is one of polls.
func (c *connection) cut() {
	if c.polls != nil {
		c.polls.cut()
	} else {
		c.link.cut()
	}
}

// post sends a body by a link of its own, which breaks when done is closed.
func (p *peer) post(target, secret, body string, done <-chan struct{}) (status int, answer []byte, err error) {
	l, err := p.stage.net.dial(p.fault())
	if err != nil {
		return 0, nil, err
	}
	defer l.cut()
	p.stage.net.working.Go(func() {
		select {
		case <-done:
			l.cut()
		case <-l.broken:
		}
	})
	late := time.AfterFunc(helloWait, l.cut)
	defer late.Stop()
	req, err := http.NewRequest(http.MethodPost, p.stage.url+target, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header = p.head("Chime-Secret", secret)
	req.GetBody = nil // it is this client that sends it again
	res, err := l.client().Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	answer, err = io.ReadAll(res.Body)
	return res.StatusCode, answer, err
}
