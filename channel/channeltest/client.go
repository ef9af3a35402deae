package channeltest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/internal/presence"
	"github.com/go-chime/chime/internal/wire"
)

// Client is one client socket, which may join any number of topics. It is for
// the test's own goroutine.
type Client struct {
	hub    *Hub
	t      testing.TB
	socket *socket
	refs   int
}

// Join joins a topic, and ends the test unless it is let in. Joining again
// replaces the former join. Payloads encode as those of channel.Socket do.
func (c *Client) Join(topic string, payload any) *Member {
	c.t.Helper()
	p := c.push(wire.Ref{}, topic, wire.EventJoin, payload)
	return &Member{p: p, reply: p.want("ok")}
}

// WantRefused joins a topic, and wants the join to be refused for that reason.
func (c *Client) WantRefused(topic string, payload any, reason string) {
	c.t.Helper()
	c.push(wire.Ref{}, topic, wire.EventJoin, payload).WantError(reason)
}

// Close ends the client socket from the client's side: with channel.Closed, as
// if it said goodbye, or channel.Vanished, as if it fell silent.
func (c *Client) Close(why channel.Reason) { c.socket.Close(wire.CloseNormal, string(why), why) }

// WantClosed waits until the server has ended the client socket, as
// channel.Socket.Disconnect does for a reason.
func (c *Client) WantClosed(reason string) {
	c.t.Helper()
	f := c.socket.take("its end", wire.Ref{}, func(f wire.Frame) bool { return f.Topic == wire.TopicChime && f.Event == wire.EventClosed })
	if want := string(encode(c.t, reason)); !strings.HasSuffix(string(f.Payload), `"reason":`+want+"}") {
		c.t.Fatalf("%s is closed: got %s, want the reason %s", c.socket.id, f.Payload, want)
	}
}

// push sends a frame; a null join_ref makes it a join, whose ref is its join_ref.
func (c *Client) push(joinRef wire.Ref, topic, event string, payload any) *Pushed {
	c.t.Helper()
	c.refs++
	f := wire.Frame{JoinRef: joinRef, Ref: wire.RefOf(fmt.Sprint(c.refs)), Topic: topic, Event: event}
	if joinRef.Null() {
		f.JoinRef = f.Ref
	}
	if b, ok := payload.(channel.Binary); ok {
		f.Binary = b
	} else {
		f.Payload = encode(c.t, payload)
	}
	c.socket.receive(f)
	return &Pushed{c, f}
}

// Member is a client in a topic. It is for the test's own goroutine.
type Member struct {
	p      *Pushed // the join
	reply  json.RawMessage
	drafts map[string]shownDraft // of which WantDraft has taken something
	view   presence.View         // what WantPresence has seen
}

// WantReply compares what the channel gave to channel.Accept.
func (m *Member) WantReply(payload any) {
	m.p.client.t.Helper()
	var got map[string]json.RawMessage
	if err := json.Unmarshal(m.reply, &got); err != nil {
		m.p.client.t.Fatalf("reply to %s: %v", m.p, err)
	}
	delete(got, "@history") // the hub's part
	m.p.compare("reply", encode(m.p.client.t, got), payload)
}

// Push sends an event to the channel.
func (m *Member) Push(event string, payload any) *Pushed {
	m.p.client.t.Helper()
	return m.p.client.push(m.p.frame.JoinRef, m.p.frame.Topic, event, payload)
}

// Leave leaves the topic and waits for the answer, after which nothing of the
// topic reaches this client. HandleLeave may still run; Hub.Wait waits for it.
func (m *Member) Leave() {
	m.p.client.t.Helper()
	m.Push(wire.EventLeave, nil).WantReply(nil)
	m.WantPush(wire.EventClose, nil)
}

// WantPush waits for the next push of an event: something for this client
// alone. What comes before it stays, for other Wants.
func (m *Member) WantPush(event string, payload any) {
	m.p.client.t.Helper()
	f := m.take("push "+event, func(f wire.Frame) bool { return f.Event == event && f.JoinRef == m.p.frame.JoinRef })
	m.p.compare("push "+event, f.Payload, payload)
}

// WantBroadcast waits for the next broadcast of an event, be it replayed or
// live. What comes before it stays, for other Wants.
func (m *Member) WantBroadcast(event string, payload any) {
	m.p.client.t.Helper()
	f := m.take("broadcast "+event, func(f wire.Frame) bool { return f.Event == event && f.JoinRef.Null() })
	m.p.compare("broadcast "+event, f.Payload, payload)
}

// WantLeft waits until the channel has ended the join, by Leave(nil) of its
// channel.Socket. HandleLeave may still run.
func (m *Member) WantLeft() {
	m.p.client.t.Helper()
	m.WantPush(wire.EventClose, nil)
}

// WantError waits until an error has ended the join: that of Leave of its
// channel.Socket, "channel_crash" after a panic, "overloaded" if the handler
// has not kept up.
func (m *Member) WantError(reason string) {
	m.p.client.t.Helper()
	m.WantPush(wire.EventError, map[string]string{"reason": reason})
}

// WantNothing waits until no handler runs, and wants that the client has been
// sent nothing in this topic that no other Want has taken; replies, and the deltas
// of drafts, do not count.
func (m *Member) WantNothing() {
	c := m.p.client
	c.t.Helper()
	if !c.hub.rests(patience) {
		c.t.Fatalf("%s wants nothing: a handler still runs after %v", c.socket.id, patience)
	}
	if unseen := c.socket.unseen(func(f wire.Frame) bool { return m.event(f) && f.Event != wire.EventDraftDelta }); unseen != "nothing" {
		c.t.Fatalf("%s: got %s, want nothing", c.socket.id, unseen)
	}
}

func (m *Member) event(f wire.Frame) bool {
	return f.Topic == m.p.frame.Topic && f.Event != wire.EventReply
}

func (m *Member) take(what string, want func(wire.Frame) bool) wire.Frame {
	m.p.client.t.Helper()
	return m.p.client.socket.take(what, wire.Ref{}, func(f wire.Frame) bool { return m.event(f) && want(f) })
}

// Pushed is what a client has sent.
type Pushed struct {
	client *Client
	frame  wire.Frame
}

// WantReply waits for the reply "ok", with what HandleMessage returned. There is
// nothing to wait for when the join has ended before it was given.
func (p *Pushed) WantReply(payload any) {
	p.client.t.Helper()
	p.compare("reply", p.want("ok"), payload)
}

// WantError waits for the reply "error" with the reason: that of channel.Refuse,
// or "internal" for any other error.
func (p *Pushed) WantError(reason string) {
	p.client.t.Helper()
	p.compare("error", p.want("error"), map[string]string{"reason": reason})
}

func (p *Pushed) want(status string) json.RawMessage {
	p.client.t.Helper()
	f := p.client.socket.take("the reply to "+p.String(), p.frame.JoinRef, func(f wire.Frame) bool {
		return f.Event == wire.EventReply && f.Topic == p.frame.Topic && f.Ref == p.frame.Ref
	})
	var reply struct {
		Status   string
		Response json.RawMessage
	}
	if err := json.Unmarshal(f.Payload, &reply); err != nil || reply.Status != status {
		p.client.t.Fatalf("reply to %s: got %s, want status %q", p, f.Payload, status)
	}
	return reply.Response
}

// compare compares JSON, whatever the order of its keys.
func (p *Pushed) compare(what string, got json.RawMessage, payload any) {
	p.client.t.Helper()
	equal, wanted := reflect.DeepEqual, "want"
	if least, ok := payload.(part); ok {
		payload, equal, wanted = least.payload, has, "want at least"
	}
	want := encode(p.client.t, payload)
	var g, w any
	if err := json.Unmarshal(got, &g); err != nil {
		p.client.t.Fatalf("%s of %s: %v", what, p, err)
	}
	if err := json.Unmarshal(want, &w); err != nil || !equal(g, w) {
		p.client.t.Fatalf("%s of %s: got %s, %s %s", what, p, bytes.TrimSpace(got), wanted, want)
	}
}

// String names p in failures.
func (p *Pushed) String() string {
	return fmt.Sprintf("%s %s of %s", p.frame.Topic, p.frame.Event, p.client.socket.id)
}

func encode(t testing.TB, payload any) json.RawMessage {
	t.Helper()
	text, err := wire.EncodeValue(payload)
	if err != nil {
		t.Fatalf("payload %v: %v", payload, err)
	}
	return text
}
