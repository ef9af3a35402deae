package chaos

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// polls are the connection of a client that asks for what there is, again and again, on
// links that it changes as they break. One that is cut ends nothing.
type polls struct {
	peer     *peer
	secret   string
	received uint64  // counted frames that were read; only who reads knows it
	frames   []frame // that are still to be read

	mu   sync.Mutex // guards what follows
	link *link      // nil before the next poll
	http *http.Client
	over bool
}

// dialPolls opens a client socket, or a connection of the one that has a secret.
func (p *peer) dialPolls(secret string, received uint64) (*connection, error) {
	ps := &polls{peer: p, secret: secret, received: received}
	if err := ps.poll(0); err != nil {
		ps.drop()
		return nil, err
	}
	return &connection{polls: ps}, nil
}

// read returns the next frame.
func (ps *polls) read() (frame, error) {
	for len(ps.frames) == 0 {
		err := ps.poll(ps.peer.dice.between(0, 2*time.Second))
		if refused, ok := errors.AsType[*refusedError](err); ok && !refused.passes() {
			return frame{}, err
		}
		if err != nil && !ps.rest() {
			return frame{}, err
		}
	}
	f := ps.frames[0]
	ps.frames = ps.frames[1:]
	if f.topic != "chime" {
		ps.received++
	}
	return f, f.end()
}

// poll asks for what there is, and waits for it up to hold.
func (ps *polls) poll(hold time.Duration) error {
	l, client, err := ps.way()
	if err != nil {
		return err
	}
	req, err := http.NewRequest(http.MethodGet, ps.peer.stage.url+"/socket/poll", nil)
	if err != nil {
		return err
	}
	req.Header = ps.peer.head("Chime-Received", strconv.FormatUint(ps.received, 10), "Chime-Hold", strconv.FormatInt(hold.Milliseconds(), 10))
	if ps.secret != "" {
		req.Header.Set("Chime-Secret", ps.secret)
	}
	late := time.AfterFunc(hold+helloWait, l.cut)
	defer late.Stop()
	res, err := client.Do(req)
	if err != nil {
		l.cut()
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return refusal(res)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		l.cut()
		return err
	}
	return ps.take(body)
}

// take takes the frames of a reply, but those that have come before.
func (ps *polls) take(body []byte) error {
	var reply struct {
		First  uint64
		Frames []json.RawMessage
	}
	if err := json.Unmarshal(body, &reply); err != nil {
		return fmt.Errorf("reply %.100s: %w", body, err)
	}
	for _, text := range reply.Frames {
		f, err := parseFrame(text)
		if err != nil {
			return err
		}
		if f.topic != "chime" {
			number := reply.First
			if reply.First++; number <= ps.received {
				continue
			}
			f.id = strconv.FormatUint(number, 10)
		}
		ps.frames = append(ps.frames, f)
	}
	return nil
}

// way is the link of the next poll: that of the one before, unless it has broken.
func (ps *polls) way() (*link, *http.Client, error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	switch {
	case ps.over:
		return nil, nil, io.ErrClosedPipe
	case ps.link != nil && !ps.link.isCut():
		return ps.link, ps.http, nil
	}
	f := ps.peer.fault()
	if ps.peer.stage.isShort() { // which cuts them by act: a drain has patience with those whose replies are lost
		f = fault{rate: f.rate, tally: f.tally}
	}
	l, err := ps.peer.stage.net.dial(f)
	if err != nil {
		return nil, nil, err
	}
	ps.link, ps.http = l, l.client()
	return l, ps.http, nil
}

// rest waits before the next poll. It reports false if there is to be none.
func (ps *polls) rest() bool {
	timer := time.NewTimer(ps.peer.dice.between(10*time.Millisecond, 200*time.Millisecond))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ps.peer.stopped:
	}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return !ps.over
}

// cut breaks the link that is in use.
func (ps *polls) cut() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.link != nil {
		ps.link.cut()
	}
}

// drop has the client poll no more.
func (ps *polls) drop() {
	ps.mu.Lock()
	ps.over = true
	ps.mu.Unlock()
	ps.cut()
}
