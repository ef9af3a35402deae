package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// polling is a client of the chime dialect that polls when it is asked for a frame.
type polling struct {
	*stream  // for its requests
	received uint64
	frames   []string // that have come
}

// polling opens a client socket.
func (s *site) polling() (*polling, error) {
	p := &polling{stream: s.requester("/poll")}
	if err := p.poll(); err != nil {
		p.Vanish()
		return nil, err
	}
	p.secret = secretIn(p.frames[0])
	if p.secret == "" {
		p.Vanish()
		return nil, fmt.Errorf("got %s, want a hello", p.frames[0])
	}
	return p, nil
}

// polled is a reply.
type polled struct {
	First  uint64
	Frames []json.RawMessage
}

// ask polls. Header is a list of "Name: value".
func (es *stream) ask(ctx context.Context, received uint64, header ...string) (*polled, error) {
	header = append(header, "Chime-Received: "+strconv.FormatUint(received, 10))
	if es.secret != "" {
		header = append(header, "Chime-Secret: "+es.secret)
	}
	res, err := es.request(ctx, http.MethodGet, es.target, "", header...)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, &refusal{res.StatusCode, strings.TrimSpace(string(body))}
	}
	reply := &polled{}
	return reply, json.Unmarshal(body, reply)
}

// poll takes the frames of one reply.
func (p *polling) poll() error {
	ctx, cancel := context.WithTimeout(context.Background(), p.site.patience)
	defer cancel()
	reply, err := p.ask(ctx, p.received)
	switch {
	case err != nil:
		return err
	case len(reply.Frames) == 0:
		return errors.New("a reply without frames")
	case reply.First != p.received+1:
		return fmt.Errorf("a reply that begins with %d, want %d", reply.First, p.received+1)
	}
	for _, f := range reply.Frames {
		p.frames = append(p.frames, string(f))
		if !connectionFrame(string(f)) {
			p.received++
		}
	}
	return nil
}

// Next implements peer.
func (p *polling) Next() (string, error) {
	for {
		if len(p.frames) == 0 {
			if err := p.poll(); err != nil {
				return "", err
			}
		}
		text := p.frames[0]
		p.frames = p.frames[1:]
		said, closed := strings.CutPrefix(text, `[null,null,"chime","closed",`)
		switch {
		case closed && len(p.frames) > 0:
			return "", fmt.Errorf("after %s: got %s, want the end of the reply", text, p.frames[0])
		case closed:
			end := &End{}
			if err := json.Unmarshal([]byte(strings.TrimSuffix(said, "]")), end); err != nil {
				return "", err
			}
			return "", end
		case !connectionFrame(text):
			return text, nil
		}
	}
}
