package raw

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// Poller is a client that polls. It asks when a frame is wanted, and not before.
type Poller struct {
	T        *testing.T
	site     *Site
	target   string
	Secret   string
	header   []string
	received int
	frames   []string // that have come
}

// Poll opens a client socket by a poll.
func (s *Site) Poll(t *testing.T, header ...string) *Poller {
	t.Helper()
	return s.PollAt(t, "/socket/poll", header...)
}

// PollAt is Poll, where the router is mounted elsewhere.
func (s *Site) PollAt(t *testing.T, target string, header ...string) *Poller {
	t.Helper()
	p := &Poller{T: t, site: s, target: target, header: header}
	p.Secret = SecretIn(t, p.Next())
	return p
}

// Next returns the next frame.
func (p *Poller) Next() string {
	p.T.Helper()
	if len(p.frames) == 0 {
		p.ask()
	}
	f := p.frames[0]
	p.frames = p.frames[1:]
	if !strings.HasPrefix(f, `[null,null,"chime",`) && !strings.Contains(f, `,"phoenix","phx_reply",`) {
		p.received++
	}
	return f
}

func (p *Poller) ask() {
	p.T.Helper()
	header := append([]string{"Connection: close", fmt.Sprint("Chime-Received: ", p.received)}, p.header...)
	if p.Secret != "" {
		header = append(header, "Chime-Secret: "+p.Secret)
	}
	res := p.site.Request(p.T, http.MethodGet, p.target, "", header...)
	text, err := io.ReadAll(res.Body)
	var reply struct{ Frames []json.RawMessage }
	if err != nil || res.StatusCode != http.StatusOK || json.Unmarshal(text, &reply) != nil || len(reply.Frames) == 0 {
		p.T.Fatalf("poll: got %s, %s and error %v, want a frame", res.Status, Clip(string(text)), err)
	}
	for _, f := range reply.Frames {
		p.frames = append(p.frames, string(f))
	}
}

// Want compares the next frames.
func (p *Poller) Want(frames ...string) {
	p.T.Helper()
	for _, want := range frames {
		if got := p.Next(); got != want {
			p.T.Fatalf("got  %s\nwant %s", Clip(got), Clip(want))
		}
	}
}

// WantClosed expects the frame that says why the client socket ends, and WantUnknown.
func (p *Poller) WantClosed(code int, reason string) {
	p.T.Helper()
	p.Want(fmt.Sprintf(`[null,null,"chime","closed",{"code":%d,"reason":%q}]`, code, reason))
	p.WantUnknown()
}

// WantUnknown expects that nobody knows the client socket.
func (p *Poller) WantUnknown() {
	p.T.Helper()
	header := append([]string{"Chime-Received: 0", "Chime-Secret: " + p.Secret}, p.header...)
	p.site.Request(p.T, http.MethodGet, p.target, "", header...).Want(p.T, http.StatusGone, `{"reason":"no such client socket"}`)
}

// Post sends frames.
func (p *Poller) Post(body string) *Answer {
	p.T.Helper()
	return p.site.Request(p.T, http.MethodPost, p.target, body, append([]string{"Connection: close", "Content-Type: application/json", "Chime-Secret: " + p.Secret}, p.header...)...)
}
