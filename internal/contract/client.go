package contract

import (
	"encoding/json"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/go-chime/chime/internal/presence"
	"github.com/go-chime/chime/store"
)

// client is one client of the Router under test. What it sends and expects is
// the same on every wire; a line has the bytes.
type client struct {
	*testing.T
	stage *stage
	token string // names its identity
	box   *mailbox
	line  line
	refs  int
}

// line is a connection of a client, on one transport in one dialect. What it
// reads goes into the client's mailbox.
type line interface {
	// send sends one frame. A line that can only receive knows joins.
	send(f frame) error
	// close ends the connection as a well-mannered client does.
	close()
	// cut ends it without a word.
	cut()
}

func (c *client) nextRef() string {
	c.refs++
	return strconv.Itoa(c.refs)
}

func (c *client) send(f frame) {
	c.Helper()
	if err := c.line.send(f); err != nil {
		c.Fatalf("send %v: %v", f, err)
	}
}

// member is a client in a topic, or on its way.
type member struct {
	*client
	topic     string
	ref       string // of the join; also the join_ref
	positions bool   // it wants them
	response  obj    // of the reply to the join, without @history
	history   *history
	drafted   string        // of the draft that WantDraft has taken, its text
	deltas    float64       // and the number of its last delta
	view      presence.View // of who is present
}

// history is what the reply to a join says of the replay.
type history struct {
	Epoch     string
	Offset    uint64
	Recovered *bool
}

// TryJoin asks to join; what the answer is comes next.
func (c *client) TryJoin(topic string, payload obj) *member {
	c.Helper()
	m := &member{client: c, topic: topic, ref: c.nextRef()}
	_, last := payload["@last"]
	_, since := payload["@since"]
	m.positions = last || since
	c.send(frame{joinRef: m.ref, ref: m.ref, topic: topic, event: "phx_join", payload: payload})
	return m
}

// Join joins a topic, and fails if the client is not let in.
func (c *client) Join(topic string, payload obj) *member {
	c.Helper()
	m := c.TryJoin(topic, payload)
	m.WantJoined()
	return m
}

// Reopen opens a bare stream of some topics, as an EventSource does after it
// has seen the event with that id last.
func (c *client) Reopen(id string, topics ...string) {
	c.Helper()
	head := http.Header{}
	if id != "" {
		head.Set("Last-Event-ID", id)
	}
	if err := c.line.(*streamLine).open("?"+url.Values{"join": topics}.Encode(), head); err != nil {
		c.Fatalf("open the stream: %v", err)
	}
}

// WantJoined wants the reply to the join, and that the client is in.
func (m *member) WantJoined() {
	m.Helper()
	if m.stage.transport.Dialect == "amber" {
		m.want(m.next("what the room tells who is in"), m.ref, "", itsIn, obj{})
		return
	}
	response := m.wantStatus(m.ref, "ok")
	if h, ok := response["@history"]; ok {
		text, _ := json.Marshal(h)
		m.history = &history{}
		if err := json.Unmarshal(text, m.history); err != nil {
			m.Fatalf("@history %s: %v", text, err)
		}
		delete(response, "@history")
	}
	m.response = response
}

// WantRefused wants the reply to the join, and that it is an error.
func (m *member) WantRefused(reason string) {
	m.Helper()
	m.WantError(m.ref, reason)
}

// Push sends a message and returns its ref.
func (m *member) Push(event string, payload any) (ref string) {
	m.Helper()
	ref = m.nextRef()
	m.send(frame{joinRef: m.ref, ref: ref, topic: m.topic, event: event, payload: payload})
	return ref
}

// PushBinary is Push with a payload that is no JSON.
func (m *member) PushBinary(event string, data []byte) (ref string) {
	m.Helper()
	ref = m.nextRef()
	m.send(frame{joinRef: m.ref, ref: ref, topic: m.topic, event: event, binary: data})
	return ref
}

// Tell sends a message to which it wants no answer.
func (m *member) Tell(event string, payload any) {
	m.Helper()
	m.send(frame{joinRef: m.ref, topic: m.topic, event: event, payload: payload})
}

// Leave sends a leave, and returns its ref.
func (m *member) Leave() (ref string) {
	m.Helper()
	return m.Push("phx_leave", obj{})
}

// next takes the next frame of the topic.
func (m *member) next(want string) frame {
	m.Helper()
	return m.box.next(m.T, m.topic, want)
}

// want checks a frame: join_ref, ref, event and payload.
func (m *member) want(got frame, joinRef, ref, event string, payload any) {
	m.Helper()
	joinRef = m.shown(joinRef)
	want := frame{joinRef: joinRef, ref: ref, topic: m.topic, event: event, payload: payload}
	if got.joinRef != joinRef || got.ref != ref || got.event != event || got.binary != nil || !same(got.payload, payload) {
		m.Fatalf("got %v, want %v", got, want)
	}
}

// shown is a join_ref as the dialect shows it: some don't.
func (m *member) shown(joinRef string) string {
	if d := m.stage.transport.Dialect; d == "phoenix1" || d == "amber" {
		return ""
	}
	return joinRef
}

func (m *member) wantStatus(ref, status string) (response obj) {
	m.Helper()
	f := m.next("the reply to " + ref)
	payload, _ := f.payload.(obj)
	response, isObject := payload["response"].(obj)
	if f.event != "phx_reply" || f.joinRef != m.shown(m.ref) || f.ref != ref || payload["status"] != status || !isObject || len(payload) != 2 {
		m.Fatalf("got %v, want [%q,%q,%q,\"phx_reply\",{\"status\":%q,\"response\":{…}}]", f, m.ref, ref, m.topic, status)
	}
	return response
}

// WantReply wants the ok reply to a push, and this response in it.
func (m *member) WantReply(ref string, response any) {
	m.Helper()
	if got := m.wantStatus(ref, "ok"); !same(got, response) {
		m.Fatalf("reply to %s: got %v, want %v", ref, got, response)
	}
}

// WantError wants the error reply to a push, and the reason in it.
func (m *member) WantError(ref, reason string) {
	m.Helper()
	if got := m.wantStatus(ref, "error"); !same(got, obj{"reason": reason}) {
		m.Fatalf("error reply to %s: got %v, want the reason %q", ref, got, reason)
	}
}

// WantUnmatched wants the answer to a frame that no join of this client is for.
func (m *member) WantUnmatched(ref string) {
	m.Helper()
	m.want(m.next("unmatched topic"), "", ref, "phx_reply",
		obj{"status": "error", "response": obj{"reason": "unmatched topic"}})
}

// WantPush wants an event that is for this client only.
func (m *member) WantPush(event string, payload any) {
	m.Helper()
	m.want(m.next("the push "+event), m.ref, "", event, payload)
}

// WantBroadcast wants an event that is for the topic, and returns its offset
// if the client is told of that.
func (m *member) WantBroadcast(event string, payload any) (offset uint64) {
	m.Helper()
	f := m.next("the broadcast " + event)
	offset = m.position(f)
	m.want(f, f.joinRef, f.ref, event, payload)
	return offset
}

// WantRetained is WantBroadcast of an event that is kept: who can know of its
// position must.
func (m *member) WantRetained(event string, payload any) (offset uint64) {
	m.Helper()
	offset = m.WantBroadcast(event, payload)
	if placed := m.positioned(); (offset > 0) != placed {
		m.Fatalf("%s %v has the offset %d; want one: %v", event, payload, offset, placed)
	}
	return offset
}

// WantMany wants the messages of some numbers, which are kept.
func (m *member) WantMany(from, to int) {
	m.Helper()
	for n := from; n <= to; n++ {
		m.WantRetained("new", obj{"n": n})
	}
}

// WantHistory wants that the reply to the join says where it begins, and that so
// many messages are retained after that; -1 is any number.
func (m *member) WantHistory(count int) *history {
	m.Helper()
	h := m.history
	if h == nil || h.Epoch != m.stage.store.Epoch() {
		m.Fatalf("@history: got %+v, want the epoch %s", h, m.stage.store.Epoch())
	}
	page, err := m.stage.store.Read(m.stage.Context(), m.topic, store.Range{After: h.Offset})
	if err != nil || count >= 0 && len(page.Messages) != count {
		m.Fatalf("@history: got %+v, after which %d messages are retained (%v), want %d", h, len(page.Messages), err, count)
	}
	return h
}

// WantRecovered is WantHistory after a join that named a position.
func (m *member) WantRecovered(count int, recovered bool) {
	m.Helper()
	if h := m.WantHistory(count); h.Recovered == nil || *h.Recovered != recovered {
		m.Fatalf("@history: got %+v, want recovered: %v", h, recovered)
	}
}

// WantBinary wants an event that is no JSON.
func (m *member) WantBinary(event string, data []byte) frame {
	m.Helper()
	f := m.next("the binary broadcast " + event)
	if f.event != event || string(f.binary) != string(data) {
		m.Fatalf("got %v, want %s %q", f, event, data)
	}
	return f
}

// WantRetainedBinary is WantRetained for what is no JSON.
func (m *member) WantRetainedBinary(event string, data []byte) (offset uint64) {
	m.Helper()
	f := m.WantBinary(event, data)
	if offset = m.position(f); (offset > 0) != m.positioned() {
		m.Fatalf("got %v with the offset %d; want one: %v", f, offset, m.positioned())
	}
	return offset
}

// positioned reports whether this client is told the positions of messages.
func (m *member) positioned() bool {
	switch m.stage.transport.Dialect {
	case "phoenix":
		return m.positions
	case "phoenix1", "amber":
		return false
	}
	return true
}

// hasHistory reports whether the reply to its join tells this client of the
// replay.
func (m *member) hasHistory() bool { return m.positioned() || m.positions }

// position checks the refs of a broadcast and returns its offset, 0 if none.
func (m *member) position(f frame) uint64 {
	m.Helper()
	if f.ref == "" && f.joinRef == "" {
		return 0
	}
	joinRef := ""
	if m.stage.transport.Dialect == "phoenix" {
		joinRef = m.ref // some clients of Phoenix want a join_ref where there is a ref
	}
	text, ok := strings.CutPrefix(f.ref, "@")
	offset, err := strconv.ParseUint(text, 10, 64)
	if !ok || err != nil || offset == 0 || f.joinRef != joinRef || !m.positioned() {
		m.Fatalf("got %v; want a broadcast, whose ref is null or a position for who asks", f)
	}
	return offset
}

// WantClosed wants the end of the join that the server says: phx_close.
func (m *member) WantClosed() {
	m.Helper()
	m.want(m.next("phx_close"), m.ref, m.ref, "phx_close", obj{})
}

// WantFailed wants the end of the join by an error, after which a client rejoins.
func (m *member) WantFailed(reason string) {
	m.Helper()
	m.want(m.next("phx_error"), m.ref, m.ref, "phx_error", obj{"reason": reason})
}

// WantLeft wants the answers to a leave.
func (m *member) WantLeft(ref string) {
	m.Helper()
	m.WantReply(ref, obj{})
	m.WantClosed()
}

// WantNothing wants that nothing more has come. It waits for what the server
// still has on its way, which costs a client that can not ask its connection.
func (m *member) WantNothing() {
	m.Helper()
	if m.stage.transport.sends {
		const nowhere = "nobody's:0"
		ref := m.nextRef()
		m.send(frame{ref: ref, topic: nowhere, event: "hello?"})
		for m.box.next(m.T, nowhere, "the answer from no topic").ref != ref {
		}
	} else {
		m.stage.Disconnect(m.token)
		m.WantEnd(1001)
	}
	m.box.empty(m.T, m.topic)
}

// WantUnseen wants that a text has never been on the wire.
func (c *client) WantUnseen(text string) {
	c.Helper()
	if read := c.box.transcript(); strings.Contains(read, text) {
		c.Errorf("the client was told %q: %s", text, read)
	}
}

// WantEnd wants the end of the connection, with the code that the server gives.
func (c *client) WantEnd(code int) {
	c.Helper()
	var got int
	var fault string
	if !c.box.wait(func() bool { got, fault = c.box.code, c.box.fault; return c.box.ended }) {
		c.Fatalf("the connection goes on, want its end with %d", code)
	}
	if got != code && got != whileAway {
		c.Fatalf("the connection ended with %d, want %d: %s", got, code, fault)
	}
}

// WantDrain wants to have been told when to come back, where the dialect can say so.
func (c *client) WantDrain() {
	c.Helper()
	switch c.stage.transport.Dialect {
	case "phoenix", "phoenix1", "amber": // its client knows by the code of the close
	case "bare":
		c.WantRetry()
	default:
		for {
			f := c.box.next(c.T, "chime", "drain")
			if payload, _ := f.payload.(obj); f.event == "drain" {
				if ms, _ := payload["retry_ms"].(float64); ms < 1 {
					c.Fatalf("got %v, want a retry_ms", f)
				}
				return
			}
		}
	}
}

// WantRetry wants that the stream has said when to come back.
func (c *client) WantRetry() {
	c.Helper()
	if ms, err := strconv.Atoi(c.box.retry); err != nil || ms < 1 {
		c.Fatalf("retry: got %q, want a number", c.box.retry)
	}
}

// Silence is how long the server takes to miss the connection of the client, if that is
// cut: polls that are cut off end nothing until there have been none for long.
func (c *client) Silence() time.Duration {
	transport := c.stage.transport.Name
	if l, ok := c.line.(*lastingLine); ok {
		l.mu.Lock()
		defer l.mu.Unlock()
		transport = l.conn.transport
	}
	if transport == polls {
		return silence
	}
	return 0
}

// Close ends the connection as a well-mannered client does.
func (c *client) Close() { c.line.close() }

// Cut ends it without a word. The client does not come back.
func (c *client) Cut() { c.line.cut() }

// Lose ends the connection of a client that lasts. What it has not heard then
// it has not got.
func (c *client) Lose() { c.LoseTo(cuts) }

// LoseTo is Lose to a box that closes a WebSocket with a code. A stream has none, and is cut.
func (c *client) LoseTo(code websocket.StatusCode) { c.line.(*lastingLine).stayAway(code) }

// Return comes back after Lose.
func (c *client) Return() { c.line.(*lastingLine).goBack() }

// Hear has n more frames reach the client; those behind get lost with its
// connection.
func (c *client) Hear(n int) { c.line.(*lastingLine).hear(n) }

// Stall has the client read n more frames, and then leave what comes where it
// is until it loses its connection.
func (c *client) Stall(n int) { c.line.(*lastingLine).stall(n) }

// Rest has a client that moves stay on the connection that it has.
func (c *client) Rest() {
	if l, ok := c.line.(*lastingLine); ok {
		l.rest()
	}
}

// Transport is what the client is on. It stays there.
func (c *client) Transport() string {
	c.Rest()
	if l, ok := c.line.(*lastingLine); ok {
		return l.conn.transport
	}
	return c.stage.transport.Name
}

// same compares what came with what any value would look like in JSON.
func same(got, want any) bool {
	text, err := json.Marshal(want)
	if err != nil {
		return false
	}
	var plain any
	return json.Unmarshal(text, &plain) == nil && reflect.DeepEqual(got, plain)
}
