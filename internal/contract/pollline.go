package contract

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"sync"
	"time"
)

// pollLine is a connection of a client that polls. POSTs are its other half.
type pollLine struct {
	posts
	once   sync.Once
	begun  chan struct{} // closed when it may poll on
	cancel context.CancelFunc
	done   chan struct{}
}

// pollReply is what a poll brings.
type pollReply struct {
	First  uint64
	Frames []json.RawMessage
}

func dialPolls(v visit) (line, error) {
	l, err := openPolls(v)
	if err == nil {
		l.(*pollLine).goOn(0)
	}
	return l, err
}

// openPolls sends the first poll. The next one would promote the connection of a client
// that comes back, so it waits for goOn.
func openPolls(v visit) (line, error) {
	l := &pollLine{posts: posts{visit: v, path: "/poll"}, begun: make(chan struct{}), done: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel, l.secret = cancel, v.secret
	reply, err := l.poll(ctx, v.received, "0")
	if err == nil {
		err = l.welcome(reply)
	}
	if err != nil {
		cancel()
		return nil, err
	}
	go l.read(ctx)
	return l, nil
}

// welcome reads the reply to the first poll.
func (l *pollLine) welcome(reply *pollReply) error {
	for n, text := range reply.Frames {
		f, err := parseFrame(text)
		switch payload, _ := f.payload.(obj); {
		case err != nil:
			return err
		case f.topic == "chime" && f.event == "closed":
			return errOver
		case n == 0 && f.topic == "chime" && f.event == "hello":
			l.secret, _ = payload["secret"].(string)
			l.box.put(f)
			return nil
		}
	}
	c, lasts := l.box.(*carrier)
	if !lasts || l.secret == "" {
		return fmt.Errorf("the first poll has brought %s, want hello", reply.Frames)
	}
	c.goesOn() // the rest comes again
	return nil
}

// goOn has it poll on.
func (l *pollLine) goOn(heard uint64) {
	l.heard.Store(heard)
	l.once.Do(func() { close(l.begun) })
}

// received is how many counted frames the client has.
func (l *pollLine) received() uint64 {
	if c, lasts := l.box.(*carrier); lasts {
		return c.heard() // some of what comes may be lost
	}
	return l.heard.Load()
}

// read polls until the server says that it is the end. What was cut off on its way it asks
// for again.
func (l *pollLine) read(ctx context.Context) {
	defer close(l.done)
	defer l.box.end()
	select {
	case <-l.begun:
	case <-ctx.Done():
		return
	}
	_, lasts := l.box.(*carrier)
	var why error
	for n, failed := 0, 0; failed < 5; n++ {
		received := l.received()
		reply, err := l.poll(ctx, received, "")
		refused, answered := errors.AsType[*refusedError](err)
		switch {
		case ctx.Err() != nil:
			return
		case answered && refused.status == http.StatusGone:
			if n == 0 && lasts { // it has ended before this connection was promoted
				l.box.say(whileAway)
			}
			return
		case answered && lasts && refused.status == http.StatusServiceUnavailable:
			l.box.say(whileAway) // the server drains, and what has said so was lost
			return
		case answered && refused.status == http.StatusUnauthorized:
			l.box.say(whileAway) // the identity has expired between two polls, which ends the client socket
			return
		case err != nil:
			failed++
			why = err
			continue
		case len(reply.Frames) == 0 && lasts: // one that was cut may have come late, and taken its place
			failed++
			why = errors.New("a poll was answered with nothing")
			continue
		case len(reply.Frames) == 0:
			return // another poll has taken its place
		case reply.First != received+1:
			l.box.blame("a poll of who has %d frames is answered from frame %d on", received, reply.First)
		}
		failed = 0
		for _, text := range reply.Frames {
			if l.frame(text) {
				return
			}
		}
	}
	l.box.blame("polls fail: %v", why)
}

// frame reports whether it was the last one.
func (l *pollLine) frame(text []byte) (last bool) {
	f, err := parseFrame(text)
	if err != nil {
		l.box.blame("%v", err)
		return false
	}
	if f.topic == "chime" && f.event == "closed" {
		payload, _ := f.payload.(obj)
		code, _ := payload["code"].(float64)
		l.box.say(int(code))
		last = true
	}
	if f.counted() {
		l.heard.Add(1)
	}
	l.box.put(f)
	return last
}

// poll sends one poll. All but the first carry another X-Visit.
func (l *pollLine) poll(ctx context.Context, received uint64, hold string) (*pollReply, error) {
	ctx, cancel := context.WithTimeout(ctx, 25*time.Second) // the server parks it for 20 s at most
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.mount+l.path, nil)
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, l.head)
	req.Header.Set("Chime-Received", fmt.Sprint(received))
	if l.secret != "" {
		req.Header.Set("Chime-Secret", l.secret)
	}
	if hold != "" {
		req.Header.Set("Chime-Hold", hold)
	} else {
		req.Header.Set("X-Visit", "a poll")
	}
	resp, err := l.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, refused(resp)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if got := resp.Header.Get("Content-Type"); got != "application/json" {
		l.box.blame("the Content-Type of a poll's answer is %q", got)
	}
	l.box.keep(body)
	reply := &pollReply{}
	if err := json.Unmarshal(body, reply); err != nil {
		l.box.blame("a poll has brought %q: %v", body, err)
	}
	return reply, nil
}

// close leaves as a client does, and polls on until it is told that it is the end.
func (l *pollLine) close() {
	_ = l.send(frame{topic: "chime", event: "goodbye", payload: obj{}}) // read finds out if this fails
	<-l.done
}

// hangUp ends the client socket with a secret, which would otherwise wait for a poll.
func (l *pollLine) hangUp(secret string) {
	l.bye(secret)
	select {
	case <-l.done:
	case <-time.After(patience):
	}
}

func (l *pollLine) cut() {
	l.cancel()
	<-l.done
}
