package conformance

import (
	"encoding/json"
	"fmt"
	"strings"
)

// page is the answer to a request for older messages.
type page struct {
	Epoch          string
	Complete, More *bool
	Messages       []struct {
		Offset  uint64
		At      string
		Event   string
		Payload json.RawMessage
	}
}

// shown is the part of a page that a check compares.
func (p page) shown() string {
	var list strings.Builder
	for _, m := range p.Messages {
		fmt.Fprintf(&list, "%d ", m.Offset)
	}
	return fmt.Sprintf("%smore:%t complete:%t", &list, *p.More, *p.Complete)
}

// older asks for a page in a topic that is joined.
func (c *conn) older(joinRef, topic string, request fields) page {
	r := c.ask(joinRef, topic, "@history", request)
	var reply struct{ Response page }
	err := json.Unmarshal(r.payload, &reply)
	p := reply.Response
	if err != nil || r.Status != "ok" || r.joinRef != joinRef || p.Epoch == "" || p.Complete == nil || p.More == nil || p.Messages == nil {
		c.t.fail("@history in %s: got %s, want ok with epoch, complete, more and messages", topic, r.frame)
	}
	return p
}

func before(epoch string, offset uint64, limit int) fields {
	return fields{"before": fields{"epoch": epoch, "offset": offset}, "limit": limit}
}

var olderChecks = []check{
	{"history: older messages are read page by page", false, each, func(t *try, kind string) {
		_, _, said := t.some(3)
		c := t.open(kind)
		ref, h := c.join(t.topic, fields{"@last": 0})
		newest := c.older(ref, t.topic, fields{"limit": 2})
		want(t, "the newest page", newest.shown(), fmt.Sprintf("%d %d more:true complete:true", said[1].offset, said[2].offset))
		want(t, "epoch", newest.Epoch, h.Epoch)
		want(t, "event", newest.Messages[0].Event, t.Event)
		first := c.older(ref, t.topic, before(h.Epoch, said[1].offset, 2))
		want(t, "the page before that", first.shown(), fmt.Sprintf("%d more:false complete:true", said[0].offset))
		want(t, "what came before the first", c.older(ref, t.topic, before(h.Epoch, said[0].offset, 2)).shown(), "more:false complete:true")
		want(t, "what came before a position of another epoch", c.older(ref, t.topic, before("another", said[2].offset, 2)).shown(), "more:false complete:false")
		want(t, "what came before any offset", len(c.older(ref, t.topic, before(h.Epoch, 1<<53, 500)).Messages), len(said))
		c.say(ref, t.topic) // it has stayed a member
	}},
	{"history: a malformed request for older messages is an error reply", false, each, func(t *try, kind string) {
		c := t.open(kind)
		ref, h := c.join(t.topic, fields{"@last": 0})
		c.fails(ref, t.topic, "@history", 7, "malformed request", ref)
		c.fails(ref, t.topic, "@history", fields{"limit": 0}, "malformed limit", ref)
		c.fails(ref, t.topic, "@history", before(h.Epoch, 0, 1), "malformed before", ref)
		c.fails(ref, t.topic, "@history", fields{"before": 7}, "malformed before", ref)
		c.fails(ref, t.topic, "@anything", fields{}, "invalid event", ref)
	}},
}
