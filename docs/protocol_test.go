// Package docs_test runs the examples of the documentation.
package docs_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/internal/leak"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/store"
)

func TestMain(m *testing.M) { leak.Main(m) }

// chatRoom is the channel of the examples.
type chatRoom struct{ channel.NothingOnLeave }

func (chatRoom) HandleJoined(_ context.Context, s *channel.Socket, m channel.Message) (channel.Accepted, error) {
	var who struct{ Name string }
	if err := m.Decode(&who); err != nil {
		return channel.Accepted{}, err
	}
	if who.Name == "Mallory" {
		return channel.Accepted{}, channel.Refuse("not invited")
	}
	s.Assign("name", who.Name)
	return channel.Accept(map[string]string{"motd": "be kind"}), nil
}

func (chatRoom) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	switch m.Event {
	case "message_new":
		return nil, s.Rebroadcast(ctx, m)
	case "typing":
		return nil, s.BroadcastFrom(ctx, m.Event, m.Payload)
	case "echo":
		if m.Binary != nil {
			return channel.Binary(m.Binary), nil
		}
		return m.Payload, nil
	case "status":
		return nil, s.UpdatePresence(m.Payload)
	case "remind":
		return nil, s.Push("reminder", m.Payload)
	case "ask":
		id, err := s.Draft(ctx, "message_new", map[string]string{"name": "Oracle"}, func(ctx context.Context, d *channel.Draft) error {
			defer func() { <-ctx.Done() }()
			return d.Append("It may rain")
		})
		return map[string]string{"draft": id}, err
	case "stop":
		var it struct{ Draft string }
		return nil, errors.Join(m.Decode(&it), s.StopDraft(ctx, it.Draft))
	case "finish", "move":
		s.Leave(map[string]error{"move": channel.Refuse("moved")}[m.Event])
		return nil, nil
	case "boom":
		panic("boom")
	}
	return nil, channel.Refuse("unknown event")
}

// TestTheProtocolPageIsWhatTheServerSpeaks runs the blocks of each page from
// top to bottom. A block of http is a request and the answer to it; if that
// opens a connection, blocks of text with the same name go on with it. A block
// of json is a frame that takes time to come, and is compared with package wire.
func TestTheProtocolPageIsWhatTheServerSpeaks(t *testing.T) {
	for page, frames := range map[string]map[string]*wire.Message{
		"protocol.md":          {"heartbeat": wire.NewHeartbeat(3, 4), "closed": wire.NewClosed(wire.CloseSlow, "too slow")},
		"protocol-dialects.md": {},
	} {
		t.Run(page, func(t *testing.T) { play(t, page, frames) })
	}
}

func play(t *testing.T, page string, frames map[string]*wire.Message) {
	kept := store.NewMemory()
	live := chime.NewRouter(chime.WithAnonymous(), chime.WithStore(kept), chime.WithLogger(slog.New(slog.DiscardHandler)))
	live.Channel("chat_room:{id}", chatRoom{}, channel.History{Keep: 100, Replay: 3})
	live.Channel("team:{id}", chatRoom{}, channel.Presence(func(s *channel.Socket) (string, any) { return s.Assigned("name").(string), nil }))
	server := httptest.NewServer(http.StripPrefix("/socket", live))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p := &player{t: t, address: server.Listener.Addr().String(), open: map[string]*connection{}, real: map[string]string{}}
	defer func() {
		p.close()
		if err := live.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		server.Close()
		_ = kept.Close()
	}()

	for _, b := range blocks(t, page) {
		p.at = fmt.Sprintf("%s:%d", page, b.line)
		switch b.language {
		case "http":
			p.exchange(b.name, b.text)
		case "text":
			if b.flag == "shutdown" {
				go func() { _ = live.Shutdown(ctx) }() // the deferred one waits for what this one began
			}
			p.talk(b.name, b.text)
		case "json":
			m := frames[b.name]
			if m == nil {
				t.Fatalf("%s: this test knows no frame %q", p.at, b.name)
			}
			p.compare(b.text, string(m.AppendText(nil, true, "")))
			delete(frames, b.name)
		case "pseudo": // code for people
		default:
			t.Fatalf("%s: a block in the language %q is not run", p.at, b.language)
		}
	}
	for name := range frames {
		t.Errorf("%s does not show the frame %q", page, name)
	}
}

// block is a fenced block: ```language name flag.
type block struct {
	language, name, flag string
	text                 string
	line                 int
}

func blocks(t *testing.T, page string) []block {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var list []block
	var in *block
	for i, line := range strings.Split(string(text), "\n") {
		info, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && in == nil:
			words := append(strings.Fields(info), "", "")
			if words[1] == "" {
				t.Fatalf("%s:%d: a block has no name, so it can't be run", page, i+1)
			}
			in = &block{language: words[0], name: words[1], flag: words[2], line: i + 1}
		case fence:
			in.text = strings.TrimSuffix(in.text, "\n")
			list = append(list, *in)
			in = nil
		case in != nil:
			in.text += line + "\n"
		}
	}
	if in != nil || len(list) == 0 {
		t.Fatalf("%s: got %d whole blocks and an open one: %v", page, len(list), in != nil)
	}
	return list
}

// player speaks as the page says, and compares what comes.
type player struct {
	t       *testing.T
	address string
	at      string                 // where in the page
	open    map[string]*connection // by the name of their block
	real    map[string]string      // what differs each time, by what the page has for it
}

type connection struct {
	conn net.Conn
	r    *bufio.Reader // of frames, or of lines
	ws   bool
}

func (p *player) close() {
	for _, c := range p.open {
		_ = c.conn.Close()
	}
}

// random is what the server makes up.
var random = regexp.MustCompile(`"(?:id|secret|wait|epoch|draft|phx_ref)":"([^"]*)"`)

// said is when a message was.
var said = regexp.MustCompile(`"at":"[^"]*"`)

// timing is what depends on how fast the machine is.
var timing = regexp.MustCompile(`^(\{"applied":\d+,"sent":|\[null,null,"chime","drain",\{"retry_ms":)\d+`)

// compare fails unless got is what the page shows, but for what is random.
func (p *player) compare(want, got string) {
	p.t.Helper()
	wanted, found := random.FindAllStringSubmatch(want, -1), random.FindAllStringSubmatch(got, -1)
	for i := range min(len(wanted), len(found)) {
		if known, ok := p.real[wanted[i][1]]; ok && known != found[i][1] {
			p.t.Errorf("%s: %s stood for %s before, and now for %s", p.at, wanted[i][1], known, found[i][1])
		}
		p.real[wanted[i][1]] = found[i][1]
	}
	shown := got
	for page, real := range p.real {
		shown = strings.ReplaceAll(shown, real, page)
	}
	shown, want = said.ReplaceAllString(shown, `"at":"…"`), said.ReplaceAllString(want, `"at":"…"`)
	if timing.ReplaceAllString(shown, "$1…") != timing.ReplaceAllString(want, "$1…") {
		p.t.Fatalf("%s:\ngot  %s\nwant %s", p.at, shown, want)
	}
}

// spoken is what the client says where the page has a stand-in.
func (p *player) spoken(text string) string {
	for page, real := range p.real {
		text = strings.ReplaceAll(text, page, real)
	}
	return text
}

func (p *player) fail(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatalf("%s: %v", p.at, err)
	}
}

// exchange sends a request and compares the answer: the status, the headers
// that the page shows, and the body.
func (p *player) exchange(name, text string) {
	p.t.Helper()
	request, answer, ok := strings.Cut(text, "\nHTTP/1.1 ")
	if !ok {
		p.t.Fatalf("%s: no answer", p.at)
	}
	head, body, _ := strings.Cut(request, "\n\n")
	answerHead, answerBody, _ := strings.Cut(answer, "\n\n")

	conn, err := net.Dial("tcp", p.address)
	p.fail(err)
	p.fail(conn.SetDeadline(time.Now().Add(20 * time.Second)))
	c := &connection{conn: conn, r: bufio.NewReader(conn)}
	_, err = io.WriteString(conn, p.spoken(strings.ReplaceAll(strings.TrimSpace(head), "\n", "\r\n")+"\r\n\r\n"+strings.TrimSpace(body)))
	p.fail(err)
	method, _, _ := strings.Cut(head, " ")
	res, err := http.ReadResponse(c.r, &http.Request{Method: method}) //nolint:bodyclose // it ends with the connection, which is closed
	p.fail(err)

	lines := strings.Split(answerHead, "\n")
	if res.Status != lines[0] {
		p.t.Fatalf("%s: got status %q, want %q", p.at, res.Status, lines[0])
	}
	for _, line := range lines[1:] {
		key, value, _ := strings.Cut(line, ": ")
		if got := strings.Join(res.Header.Values(key), ", "); got != value {
			p.t.Errorf("%s: got %s: %q, want %q", p.at, key, got, value)
		}
	}
	switch {
	case res.StatusCode == http.StatusSwitchingProtocols:
		c.ws = true
	case res.StatusCode == http.StatusOK && res.Header.Get("Content-Type") == "text/event-stream":
		c.r = bufio.NewReader(res.Body)
	default:
		got, err := io.ReadAll(res.Body)
		p.fail(err)
		p.compare(strings.TrimSpace(answerBody), strings.TrimSpace(string(got)))
		p.fail(conn.Close())
		return
	}
	p.open[name] = c
}

// talk goes on with a connection: → is sent, ← must come next.
func (p *player) talk(name, text string) {
	p.t.Helper()
	c := p.open[name]
	if c == nil {
		p.t.Fatalf("%s: %q is not open", p.at, name)
	}
	for line := range strings.SplitSeq(text, "\n") {
		direction, what, _ := strings.Cut(line, " ")
		switch direction {
		case "→":
			p.fail(c.send(p.spoken(what)))
		case "←":
			got, err := c.receive()
			p.fail(err)
			p.compare(what, got)
		default:
			p.t.Fatalf("%s: %q has no direction", p.at, line)
		}
	}
}

const opText, opBinary, opClose = 1, 2, 8

// send writes a WebSocket message: text, or bytes in hexadecimal.
func (c *connection) send(what string) error {
	if !c.ws {
		return errors.New("a stream can't be spoken to")
	}
	opcode, payload := byte(opText), []byte(what)
	if raw, err := hex.DecodeString(strings.ReplaceAll(what, " ", "")); err == nil {
		opcode, payload = opBinary, raw
	}
	// A mask of zeros leaves the payload as it is.
	frame := []byte{0x80 | opcode, 0x80 | 126, byte(len(payload) >> 8), byte(len(payload)), 0, 0, 0, 0}
	_, err := c.conn.Write(append(frame, payload...))
	return err
}

// receive returns the next message as the page shows it, or of a stream the next line.
func (c *connection) receive() (string, error) {
	if !c.ws {
		line, err := c.r.ReadString('\n')
		for err == nil && line == ":\n" { // the second bytes, which take a moment to come
			_, _ = c.r.ReadString('\n')
			line, err = c.r.ReadString('\n')
		}
		if errors.Is(err, io.EOF) {
			return "end", nil
		}
		return strings.TrimSuffix(line, "\n"), err
	}
	var head [2]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return "", err
	}
	n := uint16(head[1])
	if n == 126 {
		if err := binary.Read(c.r, binary.BigEndian, &n); err != nil {
			return "", err
		}
	}
	payload := make([]byte, n)
	if _, err := io.ReadFull(c.r, payload); err != nil {
		return "", err
	}
	switch head[0] & 0x0f {
	case opText:
		return string(payload), nil
	case opBinary:
		return fmt.Sprintf("% x", payload), nil
	case opClose:
		code, reason := binary.BigEndian.Uint16(payload), payload[2:]
		return fmt.Sprintf("close %d %s", code, reason), nil
	}
	return "", fmt.Errorf("frame with head %x", head)
}
