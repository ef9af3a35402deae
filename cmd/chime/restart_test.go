package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// A restart under load: whoever is there, however it comes back, is there again, and
// has had every message once. CHIME_MODEL=wide has a thousand clients.
func TestARestartLosesNothing(t *testing.T) {
	t.Parallel() // it waits
	clients, rooms := 40, 4
	if os.Getenv("CHIME_MODEL") == "wide" {
		clients, rooms = 1000, 10
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	db := filepath.Join(t.TempDir(), "chime.db")
	server := program(t, "serve", "--addr", "127.0.0.1:0", "--db", db)
	base := server.url(t)
	go func() { _, _ = io.Copy(io.Discard, server.stderr) }() // it would wait for us
	r := &restart{t: t, base: base, host: strings.TrimPrefix(base, "http://"), said: make([]int, rooms)}
	r.say(ctx, rooms) // so that each has a position

	leave := r.enter(ctx, clients, rooms)
	defer leave()
	r.until(ctx, "all have joined", func(g *visitor) bool { return g.joins == 1 })

	enough := r.publish(ctx, rooms)
	defer enough()
	for _, path := range []string{"/rooms/0/messages", "/socket/sse", "/socket/bye"} { // bodies that never come
		conn, err := net.Dial("tcp", r.host)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", path, r.host)
	}
	begun := time.Now()
	if err := server.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := server.cmd.Wait(); err != nil { // what it prints is read above
		t.Fatalf("the exit status: got %v, want 0", err)
	}
	t.Logf("it ended after %v", time.Since(begun).Round(time.Millisecond))

	next := program(t, "serve", "--addr", r.host, "--db", db)
	next.url(t)
	go func() { _, _ = io.Copy(io.Discard, next.stderr) }()
	r.until(ctx, "all are back", func(g *visitor) bool { return g.joins > 1 })
	t.Logf("all were back after %v", time.Since(begun).Round(time.Millisecond))
	enough()
	r.until(ctx, "all have what was said last", func(g *visitor) bool { return g.last >= r.said[g.room] })
	leave()
	if err := next.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := next.cmd.Wait(); err != nil {
		t.Errorf("the exit status of the second: got %v, want 0", err)
	}
}

type restart struct {
	t          *testing.T
	base, host string
	visitors   []*visitor
	said       []int // the last number of each room; written by who publishes
	hasty      bool  // clients come back sooner than they are asked to
}

// enter has clients of all kinds come, and come back, until leave is called, which says what
// was wrong for each.
func (r *restart) enter(ctx context.Context, clients, rooms int) (leave func()) {
	var ended sync.WaitGroup
	stop, stopped := context.WithCancel(ctx)
	kinds := []func(context.Context, *visitor){r.phoenix, r.eventSource, r.chimeSocket, r.chimeStream, r.chimePolls}
	for i := range clients {
		g := &visitor{room: i / len(kinds) % rooms, kind: i % len(kinds), hasty: r.hasty}
		r.visitors = append(r.visitors, g)
		ended.Go(func() {
			for tries := 0; stop.Err() == nil; tries++ {
				g.wait = -1
				joined := g.joins
				kinds[g.kind](stop, g)
				if g.joins > joined {
					tries = 0
				}
				g.pause(stop, tries)
			}
		})
	}
	return sync.OnceFunc(func() {
		stopped()
		ended.Wait()
		for i, g := range r.visitors {
			if len(g.faults) > 0 {
				r.t.Errorf("client %d of kind %d: %s", i, g.kind, strings.Join(g.faults, "; "))
			}
		}
	})
}

// publish has somebody speak in all rooms until enough is called.
func (r *restart) publish(ctx context.Context, rooms int) (enough func()) {
	publishing, stop := context.WithCancel(ctx)
	var publisher sync.WaitGroup
	publisher.Go(func() {
		for publishing.Err() == nil {
			r.say(ctx, rooms)
			time.Sleep(100 * time.Millisecond) // steady, and few enough that a room keeps them all
		}
	})
	return func() { stop(); publisher.Wait() }
}

// say publishes the next number in each room, however long that takes. A request
// that fails was not taken: a server that shuts down answers those that it has begun.
func (r *restart) say(ctx context.Context, rooms int) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for room := range rooms {
		body := fmt.Sprintf(`{"name":"Pub","message":"%d","id":"%[1]d"}`, r.said[room]+1) // a node that was killed may have taken it
		for ctx.Err() == nil {
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("%s/rooms/%d/messages", r.base, room), strings.NewReader(body))
			if err != nil {
				r.t.Error(err)
				return
			}
			req.Header.Set("Content-Type", "application/json")
			resp, err := client.Do(req)
			if err == nil {
				resp.Body.Close()
				if resp.StatusCode == http.StatusCreated {
					r.said[room]++
					break
				}
			}
			time.Sleep(20 * time.Millisecond) // nobody listens
		}
	}
}

func (r *restart) until(ctx context.Context, what string, done func(*visitor) bool) {
	r.t.Helper()
	for {
		missing := 0
		for _, g := range r.visitors {
			g.mu.Lock()
			if !done(g) {
				missing++
			}
			g.mu.Unlock()
		}
		if missing == 0 {
			return
		}
		select {
		case <-ctx.Done():
			r.t.Fatalf("%s: %d of %d have not", what, missing, len(r.visitors))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// visitor is one client.
type visitor struct {
	room, kind int
	epoch      string
	offset     uint64
	id         string        // of the last event of a stream without chime headers
	wait       time.Duration // what the server asked for; negative: nothing
	hasty      bool          // it does not wait for so long

	mu     sync.Mutex // guards what follows
	joins  int
	last   int // number that it was told
	faults []string
}

// pause waits as clients of its kind do.
func (g *visitor) pause(ctx context.Context, tries int) {
	chance := rand.N(min(500*time.Millisecond<<min(tries, 10), 20*time.Second))
	wait := max(g.wait, 0) + chance
	switch steps := []int{10, 50, 100, 150, 200, 250, 500, 1000, 2000, 5000}; {
	case g.kind == 0:
		wait = time.Duration(steps[min(tries, len(steps)-1)]) * time.Millisecond
	case g.kind == 1 && g.wait < 0:
		wait = 3 * time.Second
	case g.kind == 1:
		wait = g.wait
	}
	if g.hasty {
		wait = chance / 10
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
	}
}

func (g *visitor) join() string {
	ask := `{"@last":0}`
	if g.epoch != "" {
		ask = fmt.Sprintf(`{"@since":{"epoch":%q,"offset":%d}}`, g.epoch, g.offset)
	}
	return fmt.Sprintf(`["1","1","chat_room:%d","phx_join",%s]`, g.room, ask)
}

// take looks at one frame.
func (g *visitor) take(text []byte) {
	var f [5]json.RawMessage
	var ref, event string
	if json.Unmarshal(text, &f) != nil {
		return
	}
	_ = json.Unmarshal(f[1], &ref) // null is none
	_ = json.Unmarshal(f[3], &event)
	var p struct {
		Message  string
		Retry    int64 `json:"retry_ms"`
		Response struct {
			History *struct {
				Epoch     string
				Offset    uint64
				Recovered *bool
			} `json:"@history"`
		}
	}
	_ = json.Unmarshal(f[4], &p)
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case event == "drain":
		g.wait = time.Duration(p.Retry) * time.Millisecond
	case event == "phx_reply" && p.Response.History != nil:
		h := p.Response.History
		if again := g.joins > 0; again && (h.Recovered == nil || !*h.Recovered) {
			g.faults = append(g.faults, "its topic was not recovered")
		}
		g.epoch, g.offset = h.Epoch, h.Offset
		g.joins++
	case event == "message_new":
		n, _ := strconv.Atoi(p.Message)
		if g.last > 0 && n != g.last+1 {
			g.faults = append(g.faults, fmt.Sprintf("%d after %d", n, g.last))
		}
		g.last = n
		g.offset, _ = strconv.ParseUint(strings.TrimPrefix(ref, "@"), 10, 64)
	}
}

func (r *restart) phoenix(ctx context.Context, g *visitor) {
	ws, resp, err := websocket.Dial(ctx, r.base+"/socket/websocket?vsn=2.0.0", nil) //nolint:bodyclose // the connection takes it over
	r.socket(ctx, g, ws, resp, err, false)
}

func (r *restart) chimeSocket(ctx context.Context, g *visitor) {
	ws, resp, err := websocket.Dial(ctx, r.base+"/socket/websocket", &websocket.DialOptions{Subprotocols: []string{"chime.v1"}}) //nolint:bodyclose // the connection takes it over
	r.socket(ctx, g, ws, resp, err, true)
}

func (r *restart) socket(ctx context.Context, g *visitor, ws *websocket.Conn, resp *http.Response, err error, chime bool) {
	if err != nil {
		if resp != nil && resp.StatusCode == http.StatusServiceUnavailable {
			g.wait = 2 * time.Second
		}
		return
	}
	defer func() { _ = ws.CloseNow() }()
	ws.SetReadLimit(1 << 20)
	if chime {
		if _, _, err := ws.Read(ctx); err != nil { // hello
			return
		}
	}
	if ws.Write(ctx, websocket.MessageText, []byte(g.join())) != nil {
		return
	}
	for {
		_, text, err := ws.Read(ctx)
		if err != nil {
			return
		}
		g.take(text)
	}
}

func (r *restart) eventSource(ctx context.Context, g *visitor) {
	header := http.Header{}
	if g.id != "" {
		header.Set("Last-Event-ID", g.id)
	}
	r.stream(ctx, g, fmt.Sprintf("/socket/sse?join=%s&last=0", url.QueryEscape(fmt.Sprintf("chat_room:%d", g.room))), header, nil)
}

func (r *restart) chimeStream(ctx context.Context, g *visitor) {
	r.stream(ctx, g, "/socket/sse", http.Header{"Chime-Received": {"0"}}, func(hello []byte) bool {
		var f [5]struct{ Secret string }
		_ = json.Unmarshal(hello, &f) // of which the other four are none
		return r.post(ctx, new(http.Client), "/socket/sse", f[4].Secret, g)
	})
}

// post sends the join of g, and reports whether it was taken. If not g begins anew.
func (r *restart) post(ctx context.Context, client *http.Client, target, secret string, g *visitor) bool {
	body := fmt.Sprintf(`{"first":1,"received":0,"frames":[%s]}`, g.join())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.base+target, strings.NewReader(body))
	if err != nil {
		return false
	}
	req.Header.Set("Chime-Secret", secret)
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// chimePolls polls until it is told of the end, or is refused.
func (r *restart) chimePolls(ctx context.Context, g *visitor) {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	for secret, received := "", uint64(0); ; {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.base+"/socket/poll", nil)
		if err != nil {
			return
		}
		req.Header.Set("Chime-Received", fmt.Sprint(received))
		if secret != "" {
			req.Header.Set("Chime-Secret", secret)
		}
		resp, err := client.Do(req)
		if err != nil {
			return
		}
		var reply struct{ Frames []json.RawMessage }
		err = json.NewDecoder(resp.Body).Decode(&reply)
		resp.Body.Close()
		if resp.StatusCode == http.StatusServiceUnavailable {
			g.wait = 2 * time.Second
		}
		if err != nil || resp.StatusCode != http.StatusOK {
			return
		}
		for _, text := range reply.Frames {
			var f [5]json.RawMessage
			var topic, event string
			if json.Unmarshal(text, &f) != nil {
				return
			}
			_, _ = json.Unmarshal(f[2], &topic), json.Unmarshal(f[3], &event)
			switch {
			case topic != "chime":
				received++
			case event == "hello":
				var hello struct{ Secret string }
				_ = json.Unmarshal(f[4], &hello)
				secret = hello.Secret
				if !r.post(ctx, client, "/socket/poll", secret, g) {
					return
				}
			case event == "closed":
				return
			}
			g.take(text)
		}
	}
}

// stream reads a stream to its end; first is given its first event, if it is not nil,
// and reports whether to go on.
func (r *restart) stream(ctx context.Context, g *visitor, target string, header http.Header, first func([]byte) bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.base+target, nil)
	if err != nil {
		return
	}
	req.Header = header
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		g.wait = 2 * time.Second
		return
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	var id string
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch {
		case name == "id" && target != "/socket/sse":
			id = value
		case name == "retry":
			ms, _ := strconv.Atoi(value)
			g.wait = time.Duration(ms) * time.Millisecond
		case name == "data" && first != nil:
			if !first([]byte(value)) {
				return
			}
			first = nil
		case name == "data":
			g.take([]byte(value))
			if id != "" {
				g.id = id
			}
		}
	}
}
