package contract

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"
)

// patience is how long a test waits for what must happen. It is never waited
// for in full unless something is wrong.
const patience = 15 * time.Second

// obj is a JSON object.
type obj = map[string]any

// frame is one frame as it was on the wire.
type frame struct {
	joinRef, ref string // "" is null
	topic, event string
	payload      any    // as encoding/json decodes it; nil if binary
	binary       []byte // of a binary frame, or of {"@binary":…}
	id           string // of its event, on a stream
	number       int    // in the order of arrival
}

// text is the five-array of f.
func (f frame) text() []byte {
	orNull := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	payload := f.payload
	if f.binary != nil {
		payload = obj{"@binary": f.binary}
	}
	if payload == nil {
		payload = obj{}
	}
	text, err := json.Marshal([]any{orNull(f.joinRef), orNull(f.ref), f.topic, f.event, payload})
	if err != nil {
		panic(err)
	}
	return text
}

// textV1 is f in Phoenix V1.
func (f frame) textV1() []byte {
	var parts [5]json.RawMessage
	if err := json.Unmarshal(f.text(), &parts); err != nil {
		panic(err)
	}
	return fmt.Appendf(nil, `{"join_ref":%s,"ref":%s,"topic":%s,"event":%s,"payload":%s}`, parts[0], parts[1], parts[2], parts[3], parts[4])
}

// textAmber is f in the words of an Amber client, who has no refs.
func (f frame) textAmber() []byte {
	message := obj{"event": "message", "topic": f.topic, "subject": f.event, "payload": f.payload}
	switch f.event {
	case "phx_join":
		message = obj{"event": "join", "topic": f.topic}
	case "phx_leave":
		message = obj{"event": "leave", "topic": f.topic}
	}
	if f.payload != nil {
		message["payload"] = f.payload
	}
	text, err := json.Marshal(message)
	if err != nil {
		panic(err)
	}
	return text
}

// hasBytes reports whether f is, or replies, bytes.
func (f frame) hasBytes() bool {
	payload, _ := f.payload.(obj)
	response, _ := payload["response"].(obj)
	return f.binary != nil || response["@binary"] != nil
}

// counted reports whether f has a number in the chime dialect.
func (f frame) counted() bool { return f.topic != "chime" && f.topic != "phoenix" }

func (f frame) String() string { return string(f.text()) }

// parseFrame reads a five-array, and nothing that is only like one.
func parseFrame(text []byte) (frame, error) {
	var f frame
	var parts []json.RawMessage
	if err := json.Unmarshal(text, &parts); err != nil || len(parts) != 5 {
		return f, fmt.Errorf("frame %s: want an array of 5", text)
	}
	for i, field := range []*string{&f.joinRef, &f.ref, &f.topic, &f.event} {
		if err := json.Unmarshal(parts[i], field); err != nil || i >= 2 && *field == "" {
			return f, fmt.Errorf("frame %s: element %d is %s, want a string", text, i, parts[i])
		}
	}
	return f.withPayload(parts[4])
}

// parseV1 reads a frame of Phoenix V1, which has no join_ref.
func parseV1(text []byte) (frame, error) {
	return parseObject(text, "topic", "event", "payload", "ref")
}

// parseAmber reads what an Amber client gets, which is only ever a message.
func parseAmber(text []byte) (frame, error) {
	f, err := parseObject(text, "topic", "subject", "payload", "event")
	if err == nil && f.ref != "message" {
		err = fmt.Errorf("frame %s: want a message", text)
	}
	f.ref = ""
	return f, err
}

// parseObject reads an object that has these four keys and no other.
func parseObject(text []byte, topic, event, payload, ref string) (frame, error) {
	var f frame
	parts := map[string]json.RawMessage{}
	if err := json.Unmarshal(text, &parts); err != nil || len(parts) != 4 {
		return f, fmt.Errorf("frame %s: want an object of 4", text)
	}
	for key, field := range map[string]*string{topic: &f.topic, event: &f.event, ref: &f.ref} {
		if err := json.Unmarshal(parts[key], field); err != nil || key != ref && *field == "" {
			return f, fmt.Errorf("frame %s: %s is %s, want a string", text, key, parts[key])
		}
	}
	return f.withPayload(parts[payload])
}

func (f frame) withPayload(text []byte) (frame, error) {
	payload := obj{}
	if err := json.Unmarshal(text, &payload); err != nil || payload == nil {
		return f, fmt.Errorf("frame %v: want an object as payload, not %s", f, text)
	}
	f.payload = payload
	if b, ok := payload["@binary"].(string); ok && len(payload) == 1 {
		data, err := base64.StdEncoding.DecodeString(b)
		if err != nil {
			return f, fmt.Errorf("frame %s: %w", text, err)
		}
		f.payload, f.binary = nil, data
	}
	return f, nil
}

// mailbox holds what has come for one client, by topic, until it is asked for.
type mailbox struct {
	mu      sync.Mutex // guards what follows
	waiting map[string][]frame
	arrived int
	read    []byte // all there was, as it was on the wire
	retry   string // the last retry: of a stream
	ended   bool
	code    int    // why it ended, as the server said; 0: it did not say
	fault   string // the first thing that is not as the wire should be
	news    chan struct{}
}

func newMailbox() *mailbox {
	return &mailbox{waiting: map[string][]frame{}, news: make(chan struct{})}
}

// change changes the box and wakes who waits for that.
func (b *mailbox) change(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
	close(b.news)
	b.news = make(chan struct{})
}

func (b *mailbox) put(f frame) {
	b.change(func() {
		b.arrived++
		f.number = b.arrived
		b.waiting[f.topic] = append(b.waiting[f.topic], f)
	})
}

// keep adds to the transcript.
func (b *mailbox) keep(raw []byte) {
	b.change(func() { b.read = append(append(b.read, raw...), '\n') })
}

func (b *mailbox) retryAfter(ms string) { b.change(func() { b.retry = ms }) }

func (b *mailbox) end() { b.change(func() { b.ended = true }) }

func (b *mailbox) say(code int) { b.change(func() { b.code = code }) }

func (b *mailbox) blame(format string, args ...any) {
	b.change(func() {
		if b.fault == "" {
			b.fault = fmt.Sprintf(format, args...)
		}
	})
}

// transcript is all that the client has read.
func (b *mailbox) transcript() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.read)
}

// wait returns true as soon as ready does, which is asked under the lock.
func (b *mailbox) wait(ready func() bool) bool {
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		b.mu.Lock()
		ok, news := ready(), b.news
		b.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-news:
		case <-late.C:
			return false
		}
	}
}

// next takes the next frame of a topic.
func (b *mailbox) next(t testing.TB, topic, want string) frame {
	t.Helper()
	return b.any(t, []string{topic}, want)
}

// any takes the next frame of some topics.
func (b *mailbox) any(t testing.TB, topics []string, want string) frame {
	t.Helper()
	var f frame
	var found, ended bool
	var code int
	var fault string
	b.wait(func() bool {
		ended, code, fault = b.ended, b.code, b.fault
		for _, topic := range topics {
			if queue := b.waiting[topic]; len(queue) > 0 && (!found || queue[0].number < f.number) {
				f, found = queue[0], true
			}
		}
		if found {
			b.waiting[f.topic] = b.waiting[f.topic][1:]
		}
		return found || ended || fault != ""
	})
	switch {
	case fault != "":
		t.Fatalf("in %q: %s", topics, fault)
	case found:
	case ended:
		t.Fatalf("in %q: the connection ended (code %d), want %s", topics, code, want)
	default:
		t.Fatalf("in %q: got nothing, want %s", topics, want)
	}
	return f
}

// hears reports whether a frame of a topic comes before the end.
func (b *mailbox) hears(topic string) bool {
	heard := false
	b.wait(func() bool {
		heard = len(b.waiting[topic]) > 0
		return heard || b.ended
	})
	return heard
}

// empty fails if there is a frame of a topic that nobody asked for.
func (b *mailbox) empty(t testing.TB, topic string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if queue := b.waiting[topic]; len(queue) > 0 {
		t.Errorf("in %q: got %v, want nothing", topic, queue)
	}
}
