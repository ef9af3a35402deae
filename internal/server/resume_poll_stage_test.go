package server_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-chime/chime/internal/wire"
)

// pollCarrier polls on one connection of HTTP, whenever it is read and has nothing.
type pollCarrier struct {
	conn     *plug
	r        *bufio.Reader
	as       string
	secret   string
	hold     string // of the next poll, in ms; "" is what the server has
	received uint64 // counted frames, before those that follow
	next     uint64 // the number of the next of these
	frames   []string
}

func newPollCarrier(conn *plug, k knock) *pollCarrier {
	return &pollCarrier{conn: conn, r: bufio.NewReaderSize(conn, 256), as: k.as, secret: k.secret, received: k.received}
}

// begin sends the poll that opens or resumes, or that goes on.
func (p *pollCarrier) begin(cr *carrier) error {
	p.hold = "0"
	if err := p.poll(); err != nil {
		return err
	}
	p.hold = ""
	cr.goesOn = len(p.frames) == 0 || decodeChime(p.frames[0], wire.EventHello, &cr.hello) != nil
	if !cr.goesOn {
		p.frames, p.secret = p.frames[1:], cr.hello.Secret
	}
	return nil
}

// poll asks for a reply.
func (p *pollCarrier) poll() error {
	lines := []string{"GET /poll HTTP/1.1", "Host: example.com", "As: " + p.as, "Chime-Received: " + strconv.FormatUint(p.received, 10)}
	if p.secret != "" {
		lines = append(lines, "Chime-Secret: "+p.secret)
	}
	if p.hold != "" {
		lines = append(lines, "Chime-Hold: "+p.hold)
	}
	if _, err := io.WriteString(p.conn, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		return err
	}
	res, err := http.ReadResponse(p.r, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return &refusal{res.StatusCode, strings.TrimSpace(string(body))}
	}
	var reply polled
	if err := json.Unmarshal(body, &reply); err != nil {
		return fmt.Errorf("a reply of %q: %w", body, err)
	}
	p.next = reply.First
	for _, f := range reply.Frames {
		p.frames = append(p.frames, string(f))
	}
	return nil
}

// read returns the next frame, and its number if it is counted. There is none if another
// poll has taken the place of its own.
func (p *pollCarrier) read() (number uint64, text string, err error) {
	if len(p.frames) == 0 {
		if err := p.poll(); err != nil || len(p.frames) == 0 {
			return 0, "", err
		}
	}
	text, p.frames = p.frames[0], p.frames[1:]
	if end := farewellIn(text); end != nil {
		return 0, "", end
	}
	if decodeChime(text, wire.EventHello, &wire.Hello{}) == nil {
		return 0, "", io.EOF // it has been silent for too long: another attempt resumes
	}
	if !connectionFrame(text) && !strings.Contains(text, `"phoenix"`) {
		number = p.next
		p.next++
		p.received = number
	}
	return number, text, nil
}
