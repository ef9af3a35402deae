package conformance

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// reply is the answer to a frame.
type reply struct {
	frame
	status   string
	reason   string
	response json.RawMessage
}

// history is what the reply to a join says of the history.
type history struct {
	Epoch     string
	Offset    *uint64
	Recovered *bool
}

func (t *try) ref() string {
	return strconv.FormatInt(t.refs.Add(1), 10)
}

func (t *try) replyOf(f frame) (r reply) {
	var p struct {
		Status   string
		Response json.RawMessage
	}
	var why struct{ Reason string }
	if json.Unmarshal(f.payload, &p) != nil || f.event != "phx_reply" || len(p.Response) == 0 {
		t.fail("got %s, want a phx_reply with status and response", f)
	}
	_ = json.Unmarshal(p.Response, &why)
	return reply{f, p.Status, why.Reason, p.Response}
}

// ask sends a frame with a ref, and returns the next frame, its reply.
func (c *conn) ask(joinRef any, topic, event string, payload any) reply {
	ref := c.t.ref()
	c.send(encode(joinRef, ref, topic, event, payload))
	return c.answer(ref, topic)
}

func (c *conn) answer(ref, topic string) reply {
	r := c.t.replyOf(c.next())
	if r.ref != ref || r.topic != topic {
		c.t.fail("got %s, want the reply to %s in %s", r.frame, ref, topic)
	}
	return r
}

// fails is ask where the answer is an error.
func (c *conn) fails(joinRef any, topic, event string, payload any, reason, answered string) {
	r := c.ask(joinRef, topic, event, payload)
	if r.status != "error" || !strings.HasPrefix(r.reason, reason) || r.joinRef != answered {
		c.t.fail("%s in %s: got %s, want the error %q with join_ref %q", event, topic, r.frame, reason, answered)
	}
}

// join joins a topic, and returns the join_ref and what the reply says.
func (c *conn) join(topic string, payload any) (string, history) {
	ref := c.t.ref()
	c.send(encode(ref, ref, topic, "phx_join", payload))
	r := c.answer(ref, topic)
	if r.status != "ok" || r.joinRef != r.ref {
		c.t.fail("join of %s: got %s, want ok with the join_ref %s", topic, r.frame, r.ref)
	}
	return r.ref, c.t.historyOf(r)
}

func (t *try) historyOf(r reply) history {
	var response struct {
		History *history `json:"@history"`
	}
	_ = json.Unmarshal(r.response, &response)
	if h := response.History; h == nil || h.Epoch == "" || h.Offset == nil {
		t.fail("join of %s: got %s, want @history with epoch and offset: the topic needs a channel with a History", r.topic, r.frame)
	}
	return *response.History
}

// message is a retained message.
type message struct {
	mark   string
	offset uint64
}

// messageOf returns f as the retained message of this check that it has to be.
func (t *try) messageOf(f frame) message {
	offset, ok := f.offset()
	_, rest, marked := strings.Cut(string(f.payload), "mark-")
	mark, _, _ := strings.Cut(rest, "-")
	if !ok || !marked || f.joinRef != "" || f.event != t.Event {
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
	want(c.t, "status and join_ref of the reply", r.status+r.joinRef, "ok"+joinRef)
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

// answers fails unless the server answers a probe on this connection next.
func (c *conn) answers(nonce string) {
	c.send(encode(nil, nil, "chime", "probe", fields{"nonce": nonce}))
	f := c.next()
	if f.topic != "chime" || f.event != "probe_ok" || !strings.Contains(string(f.payload), fmt.Sprintf(`"nonce":"%s"`, nonce)) {
		c.t.fail("got %s, want probe_ok with the nonce %s", f, nonce)
	}
}

// moved fails unless the connection ends because another took over.
func (c *conn) moved() {
	if f := c.next(); f.topic != "chime" || f.event != "moved" {
		c.t.fail("got %s, want moved", f)
	}
	code, why := c.ends(c.t.Wait)
	if code != 4001 || why != "moved" {
		c.t.fail("got the end %d %q, want 4001 moved", code, why)
	}
}

// refusal fails unless a connection is refused with a status.
func (t *try) refusal(status int, err error) {
	if r, ok := errors.AsType[*refused](err); !ok || r.status != status {
		t.fail("got %v, want the status %d", err, status)
	}
}
