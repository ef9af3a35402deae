package conformance

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

func (t *try) open(kind string) *conn {
	c := t.dial(kind, "", 0)
	want(t, "resumed of a new client socket", *c.hello.Resumed, false)
	return c
}

// lasting is a client socket in the topic, which outlives its connection.
func (t *try) lasting(kind string) (*conn, string) {
	c := t.open(kind)
	if *c.hello.GraceMS == 0 {
		t.fail("%w", ErrSkipped)
	}
	ref, _ := c.join(t.topic, fields{"@last": 0})
	return c, ref
}

// resumes opens a connection with the secret of c, and promotes nothing.
func (c *conn) resumes(kind string) *conn {
	again := c.t.dial(kind, c.hello.Secret, c.received)
	want(c.t, "resumed", *again.hello.Resumed, true)
	want(c.t, "id after a resume", again.hello.ID, c.hello.ID)
	want(c.t, "received after a resume", *again.hello.Received, c.sent)
	want(c.t, "a new secret", again.hello.Secret != c.hello.Secret, true)
	return again
}

// over fails unless a secret leads nowhere.
func (t *try) over(kind, secret string) {
	want(t, "resumed after the end of the client socket", *t.dial(kind, secret, 0).hello.Resumed, false)
}

func (t *try) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-t.ctx.Done():
		t.fail("%w", t.ctx.Err())
	}
}

// reply is the answer to a frame.
type reply struct {
	frame
	Status   string
	Response struct {
		Reason  string
		History *history `json:"@history"`
	}
}

// history is what the reply to a join says of the history.
type history struct {
	Epoch     string
	Offset    *uint64
	Recovered *bool
}

func (t *try) ref() string { return strconv.FormatInt(t.refs.Add(1), 10) }

// answer returns the next frame, which must be the reply to ref.
func (c *conn) answer(ref, topic string) reply {
	r := c.decode(c.next())
	if r.event != "phx_reply" || r.ref != ref || r.topic != topic {
		c.t.fail("got %s, want the reply to %s in %s", r.frame, ref, topic)
	}
	return r
}

func (c *conn) decode(f frame) reply {
	r := reply{frame: f}
	_ = json.Unmarshal(f.payload, &r) // what is not there is noticed
	return r
}

func (c *conn) ask(joinRef any, topic, event string, payload any) reply {
	ref := c.t.ref()
	c.send(encode(joinRef, ref, topic, event, payload))
	return c.answer(ref, topic)
}

// fails is ask where the answer is an error.
func (c *conn) fails(joinRef any, topic, event string, payload any, reason, answered string) {
	r := c.ask(joinRef, topic, event, payload)
	if r.Status != "error" || !strings.HasPrefix(r.Response.Reason, reason) || r.joinRef != answered {
		c.t.fail("%s in %s: got %s, want the error %q with join_ref %q", event, topic, r.frame, reason, answered)
	}
}

// join joins a topic, and returns the join_ref and what the reply says.
func (c *conn) join(topic string, payload any) (string, history) {
	ref := c.t.ref()
	c.send(encode(ref, ref, topic, "phx_join", payload))
	return ref, c.joined(c.answer(ref, topic))
}

func (c *conn) joined(r reply) history {
	h := r.Response.History
	if r.Status != "ok" || r.joinRef != r.ref || h == nil || h.Epoch == "" || h.Offset == nil {
		c.t.fail("join of %s: got %s, want ok with the join_ref %s and @history with epoch and offset", r.topic, r.frame, r.ref)
	}
	return *h
}

// message is a retained message.
type message struct {
	mark   string
	offset uint64
}

// messageOf returns f as the retained message of this check that it has to be.
func (t *try) messageOf(f frame) message {
	text, retained := strings.CutPrefix(f.ref, "@")
	offset, err := strconv.ParseUint(text, 10, 64)
	_, rest, marked := strings.Cut(string(f.payload), "mark-")
	mark, _, _ := strings.Cut(rest, "-")
	if !retained || err != nil || !marked || f.joinRef != "" || f.event != t.Event {
		t.fail("got %s, want %s with null and a position as refs, and the text that was sent", f, t.Event)
	}
	return message{mark, offset}
}

// marked is a payload with the text mark.
func (t *try) marked(mark string) json.RawMessage {
	return json.RawMessage(strings.ReplaceAll(t.Payload, "%s", "mark-"+mark+"-"))
}

// say sends the event, and returns the message that it became.
func (c *conn) say(joinRef, topic string) message {
	ref := c.t.ref()
	c.send(encode(joinRef, ref, topic, c.t.Event, c.t.marked(ref)))
	m := c.t.messageOf(c.next())
	want(c.t, "text of the broadcast", m.mark, ref)
	r := c.answer(ref, topic)
	want(c.t, "status and join_ref of the reply", r.Status+r.joinRef, "ok"+joinRef)
	return m
}

// some joins the topic of the check on a client socket of its own, and says n messages.
func (t *try) some(n int) (*conn, string, []message) {
	c := t.open(onWebSocket)
	ref, _ := c.join(t.topic, fields{"@last": 0})
	var said []message
	for range n {
		said = append(said, c.say(ref, t.topic))
	}
	return c, ref, said
}

// replays fails unless these messages come next.
func (c *conn) replays(messages []message) {
	for _, m := range messages {
		want(c.t, "next message of the replay", c.t.messageOf(c.next()), m)
	}
}

func position(epoch string, offset uint64) fields {
	return fields{"@since": fields{"epoch": epoch, "offset": offset}}
}

// probes fails unless the server answers a probe on this connection next.
func (c *conn) probes(nonce string) {
	c.send(encode(nil, nil, "chime", "probe", fields{"nonce": nonce}))
	f := c.next()
	want(c.t, "answer to a probe", f.topic+f.event+string(f.payload), fmt.Sprintf(`chimeprobe_ok{"nonce":"%s"}`, nonce))
}

// moved fails unless the connection ends because another took over.
func (c *conn) moved() {
	f := c.next()
	want(c.t, "frame before the end", f.topic+f.event, "chimemoved")
	c.endsAlone(wait, 4001, "moved")
}
