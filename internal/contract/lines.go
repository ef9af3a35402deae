package contract

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// visit is what a client needs to know to connect.
type visit struct {
	mount string
	http  *http.Client
	head  http.Header
	box   ear

	// Of a client that lasts, or is to.
	secret   string // to come back with
	received uint64 // counted frames, so far
	losses   bool   // it may lose its connection when it likes
	seed     uint64 // of what it does at random
}

// ear hears what comes on a line.
type ear interface {
	keep(raw []byte) // everything, as it was on the wire
	put(f frame)
	retryAfter(ms string)
	say(code int) // why the connection ends
	end()
	blame(format string, args ...any) // for what is not as the wire should be
}

// refusedError is a connect that the server refused.
type refusedError struct {
	status int
	head   http.Header
	body   string
}

func (e *refusedError) Error() string { return fmt.Sprintf("refused: %d %s", e.status, e.body) }

func refused(resp *http.Response) error {
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	return &refusedError{resp.StatusCode, resp.Header, string(body)}
}

// socketLine is a WebSocket.
type socketLine struct {
	ws      *websocket.Conn
	box     ear
	dialect socketDialect
	cancel  context.CancelFunc
	closes  atomic.Bool // this side has begun to
	done    chan struct{}
}

// socketDialect is what a client speaks on a WebSocket.
type socketDialect struct {
	path     string
	protocol string // offered, and to be echoed
	text     func(frame) []byte
	parse    func([]byte) (frame, error)
	bytes    bool // as binary frames, not as text
	greets   bool // with a hello
	pings    bool // with a bare text
}

var (
	phoenixDialect  = socketDialect{path: "/websocket?vsn=2.0.0", text: frame.text, parse: parseFrame, bytes: true}
	phoenix1Dialect = socketDialect{path: "/websocket", text: frame.textV1, parse: parseV1}
	chimeDialect    = socketDialect{path: "/websocket", protocol: "chime.v1", text: frame.text, parse: parseFrame, greets: true}
	amberDialect    = socketDialect{text: frame.textAmber, parse: parseAmber, pings: true}
)

func dialPhoenix(v visit) (line, error)  { return dialSocket(v, phoenixDialect) }
func dialPhoenix1(v visit) (line, error) { return dialSocket(v, phoenix1Dialect) }
func dialChime(v visit) (line, error)    { return dialSocket(v, chimeDialect) }
func dialAmber(v visit) (line, error)    { return dialSocket(v, amberDialect) }

func dialSocket(v visit, d socketDialect) (line, error) {
	options := &websocket.DialOptions{HTTPClient: v.http, HTTPHeader: v.head}
	if d.protocol != "" {
		options.Subprotocols = []string{d.protocol}
	}
	if v.secret != "" {
		options.Subprotocols = append(options.Subprotocols, "chime.secret."+v.secret)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ws, resp, err := websocket.Dial(ctx, v.mount+d.path, options)
	if err != nil {
		cancel()
		if resp != nil {
			return nil, refused(resp)
		}
		return nil, err
	}
	ws.SetReadLimit(-1)
	l := &socketLine{ws: ws, box: v.box, dialect: d, cancel: cancel, done: make(chan struct{})}
	if ws.Subprotocol() != d.protocol {
		v.box.blame("subprotocol %q, want %q", ws.Subprotocol(), d.protocol)
	}
	go l.read(ctx)
	return l, nil
}

func (l *socketLine) read(ctx context.Context) {
	defer close(l.done)
	defer l.box.end()
	d := l.dialect
	const moved = 4001
	said := 0 // in a frame
	for n := 0; ; n++ {
		kind, data, err := l.ws.Read(ctx)
		if err != nil {
			code := max(0, int(websocket.CloseStatus(err)))
			if d.greets && code != 0 && code != moved && code != said && !l.closes.Load() {
				l.box.blame("closed with %d, and a frame before it said %d", code, said)
			}
			l.box.say(code)
			return
		}
		l.box.keep(data)
		if d.pings && string(data) == "ping" {
			continue
		}
		parse := d.parse
		if kind == websocket.MessageBinary {
			parse = parseBinary
		}
		f, err := parse(data)
		switch {
		case err != nil:
			l.box.blame("%v", err)
		case !d.bytes && kind == websocket.MessageBinary, !d.greets && f.topic == "chime":
			l.box.blame("got %v, which is not of this dialect", f)
		case d.bytes && kind == websocket.MessageText && f.hasBytes() && !strings.HasPrefix(f.ref, "@"):
			l.box.blame("got %v, want a binary frame, which has a place for all but a position", f)
		case d.greets && n == 0 && (f.topic != "chime" || f.event != "hello"):
			l.box.blame("the first frame is %v, want hello", f)
		}
		if payload, ok := f.payload.(obj); ok && d.greets && f.topic == "chime" && f.event == "closed" {
			code, _ := payload["code"].(float64)
			said = int(code)
		}
		l.box.put(f)
	}
}

// parseBinary reads a binary frame of Phoenix V2: a push to one client (0), a
// reply (1) or a broadcast (2).
func parseBinary(data []byte) (frame, error) {
	var f frame
	var status string
	var fields []*string
	switch {
	case len(data) == 0:
	case data[0] == 0:
		fields = []*string{&f.joinRef, &f.topic, &f.event}
	case data[0] == 1:
		fields = []*string{&f.joinRef, &f.ref, &f.topic, &status}
	case data[0] == 2:
		fields = []*string{&f.topic, &f.event}
	}
	if fields == nil || len(data) < 1+len(fields) {
		return f, fmt.Errorf("binary frame %q: want a push or a broadcast", data)
	}
	rest := data[1+len(fields):]
	for i, field := range fields {
		n := int(data[1+i])
		if n > len(rest) {
			return f, fmt.Errorf("binary frame %q is cut short", data)
		}
		*field, rest = string(rest[:n]), rest[n:]
	}
	if status != "" {
		f.event = "phx_reply"
		f.payload = obj{"status": status, "response": obj{"@binary": base64.StdEncoding.EncodeToString(rest)}}
		return f, nil
	}
	f.binary = rest
	return f, nil
}

// greeting is the payload of a hello.
type greeting struct {
	ID, Secret     string
	Resumed        bool
	Received, Sent uint64
}

func ackFrame(received uint64) frame {
	return frame{topic: "chime", event: "ack", payload: obj{"received": received}}
}

func (l *socketLine) send(f frame) error {
	if f.binary == nil || !l.dialect.bytes {
		return l.ws.Write(context.Background(), websocket.MessageText, l.dialect.text(f))
	}
	fields := []string{f.joinRef, f.ref, f.topic, f.event}
	data := []byte{0}
	for _, s := range fields {
		data = append(data, byte(len(s)))
	}
	for _, s := range fields {
		data = append(data, s...)
	}
	return l.ws.Write(context.Background(), websocket.MessageBinary, append(data, f.binary...))
}

// close leaves as a client does.
func (l *socketLine) close() {
	if !l.dialect.greets {
		l.closeWith(websocket.StatusNormalClosure)
		return
	}
	_ = l.send(frame{topic: "chime", event: "goodbye", payload: obj{}}) // read finds out if this fails
	<-l.done
}

// closeWith closes with a code. The server's answer is read here or in read,
// whoever comes first; the other sees no more than that all is over.
func (l *socketLine) closeWith(code websocket.StatusCode) {
	l.closes.Store(true)
	err := l.ws.Close(code, "")
	<-l.done
	switch answer := websocket.CloseStatus(err); {
	case err == nil:
		l.box.say(int(code))
	case answer != -1:
		l.box.say(int(answer))
	}
}

func (l *socketLine) cut() {
	_ = l.ws.CloseNow()
	l.cancel()
	<-l.done
}

// streamLine is an event stream. In the chime dialect POSTs are its other half;
// a bare one has none, and opens when it is asked to join.
type streamLine struct {
	posts
	bare   bool
	topic  string // of a bare stream
	cancel context.CancelFunc
	done   chan struct{} // closed when the stream has ended; nil before it began
	hello  chan string   // the secret
}

func dialStream(v visit) (line, error) {
	l := &streamLine{posts: posts{visit: v, path: "/sse"}, hello: make(chan string, 1)}
	head := http.Header{"Chime-Received": {fmt.Sprint(v.received)}}
	if v.secret != "" {
		head.Set("Chime-Secret", v.secret)
	}
	if err := l.open("", head); err != nil {
		return nil, err
	}
	select {
	case secret := <-l.hello:
		l.mu.Lock()
		defer l.mu.Unlock()
		l.secret = secret
		return l, nil
	case <-l.done:
		return nil, errors.New("the stream ended before hello")
	case <-time.After(patience):
		return nil, errors.New("no hello came")
	}
}

func dialBare(v visit) (line, error) { return &streamLine{posts: posts{visit: v}, bare: true}, nil }

func (l *streamLine) open(query string, extra http.Header) error {
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.mount+"/sse"+query, nil)
	if err != nil {
		cancel()
		return err
	}
	maps.Copy(req.Header, l.head)
	maps.Copy(req.Header, extra)
	resp, err := l.http.Do(req)
	if err != nil {
		cancel()
		return err
	}
	if resp.StatusCode != http.StatusOK {
		cancel()
		return refused(resp)
	}
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		l.box.blame("the stream's Content-Type is %q", got)
	}
	l.cancel, l.done = cancel, make(chan struct{})
	go l.read(resp.Body)
	return nil
}

// read is a reader of event streams (WHATWG HTML, section 9.2), of what our
// server sends of it: any other field is a fault.
func (l *streamLine) read(body io.ReadCloser) {
	defer close(l.done)
	defer l.box.end()
	defer body.Close()
	lines := bufio.NewReader(body)
	var id, data string
	for {
		text, err := lines.ReadString('\n')
		if err != nil {
			return // an event that is not complete does not count
		}
		l.box.keep([]byte(strings.TrimSuffix(text, "\n")))
		field, value, _ := strings.Cut(strings.TrimSuffix(text, "\n"), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case text == "\n" && data != "":
			l.event(id, data)
			id, data = "", ""
		case text == "\n" && id != "" && l.bare:
			l.box.put(frame{topic: l.topic, event: "@position", id: id})
			id = ""
		case text == "\n" && id == "", field == "": // the end of nothing, a comment
		case field == "id" && id == "":
			id = value
		case field == "data" && data == "":
			data = value
		case field == "retry":
			l.box.retryAfter(value)
		default:
			l.box.blame("the stream has the line %q", text)
		}
	}
}

func (l *streamLine) event(id, data string) {
	f, err := parseFrame([]byte(data))
	if err != nil {
		l.box.blame("%v", err)
		return
	}
	f.id = id
	payload, _ := f.payload.(obj)
	switch {
	case f.topic == "chime" && f.event == "closed":
		code, _ := payload["code"].(float64)
		l.box.say(int(code))
	case f.topic == "chime" && f.event == "heartbeat" && !l.bare:
		if _, lasting := l.box.(*carrier); !lasting { // which knows what it has heard
			go func() {
				l.mu.Lock()
				defer l.mu.Unlock()
				_, _ = l.batch(1, l.heard.Load()) // it may have ended
			}()
		}
	case f.topic == "chime" && f.event == "hello" && !l.bare:
		secret, _ := payload["secret"].(string)
		l.hello <- secret
	}
	if !l.bare {
		want := ""
		if f.counted() {
			want = fmt.Sprint(l.heard.Add(1))
		}
		if id != want {
			l.box.blame("the event %v has the id %q, want %q", f, id, want)
		}
	}
	l.box.put(f)
}

func (l *streamLine) send(f frame) error {
	if l.bare {
		return l.join(f)
	}
	return l.posts.send(f)
}

// join opens a bare stream: the topic and the payload of the join are in the URL.
func (l *streamLine) join(f frame) error {
	if f.event != "phx_join" || l.done != nil {
		return errors.New("a bare stream joins, once, and sends nothing else")
	}
	l.topic = f.topic
	query := url.Values{"join": {f.topic}}
	payload, _ := f.payload.(obj)
	for key, value := range payload {
		switch v := value.(type) {
		case position:
			query.Set("since", fmt.Sprintf("%s:%d", v.Epoch, v.Offset))
		default:
			query.Set(strings.TrimPrefix(key, "@"), fmt.Sprint(v))
		}
	}
	return l.open("?"+query.Encode(), nil)
}

// goOn counts from there.
func (l *streamLine) goOn(heard uint64) { l.heard.Store(heard) }

func (l *streamLine) close() {
	if l.bare {
		l.cut()
		return
	}
	l.bye(l.secret)
}

func (l *streamLine) cut() {
	if l.done != nil {
		l.cancel()
		<-l.done
	}
}
