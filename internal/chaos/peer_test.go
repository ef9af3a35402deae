package chaos

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-chime/chime/store"
)

// client is somebody who is in some topics for all of a run, and comes and goes in
// others.
type client interface {
	live()         // until leave
	act()          // something at random
	isDone() error // nil when all that it waits for has come; of interest when nobody acts any more
	leave()        // and wait until live has returned
	common() *peer
}

// slowly ends the name of a client that reads slowly.
const slowly = ", slowly"

// peer is what all clients have.
type peer struct {
	stage    *stage
	dialect  *dialect
	name     string
	dice     *dice
	trickles bool // it reads slowly
	polls    bool // at times, or always
	tally    tally
	stays    []string
	roams    string // the topic that it joins and leaves
	stopped  chan struct{}
	working  sync.WaitGroup

	mu      sync.Mutex // guards what follows, and what is said so of the clients
	changed sync.Cond
	conn    *connection // of a client that does not resume; nil without
	n       int         // of its pushes
	ref     int
	ledgers map[string]*ledger
	joins   map[string]*join
	pushes  map[string]push // without an answer, by ref
	acked   []said          // pushes
	sent    []said

	retained []published // pushes that were answered
}

// read takes what comes on the connection of a client that does not resume, until that
// ends.
func (p *peer) read(conn *connection, take func(frame)) error {
	defer conn.drop()
	for {
		f, err := conn.read()
		p.mu.Lock()
		if err != nil {
			p.conn = nil
			p.ended()
			p.mu.Unlock()
			return err
		}
		take(f)
		p.mu.Unlock()
	}
}

// join is where a client is with a topic.
type join struct {
	wants bool            // to be in it
	ref   string          // of the join under way, or present; "" without
	since *store.Position // of that join
	in    bool
	leave string // the ref of the leave under way
}

// push is one that was sent.
type push struct {
	what  said
	topic string
	event string
}

func (p *peer) init(s *stage, name string, number uint64) {
	p.stage, p.name, p.dice = s, name, newDice(s.seed, number+1)
	if p.trickles = p.dice.one(8); p.trickles {
		p.name += slowly
	}
	p.stopped = make(chan struct{})
	p.changed.L = &p.mu
	p.ledgers, p.joins, p.pushes = map[string]*ledger{}, map[string]*join{}, map[string]push{}
	topics := slices.Clone(s.topics)
	if p.trickles || p.polls {
		topics = slices.DeleteFunc(topics, func(topic string) bool { return topic == busyHall })
	}
	for range 3 {
		i := p.dice.n(len(topics))
		p.stays = append(p.stays, topics[i])
		topics = slices.Delete(topics, i, i+1)
	}
	if !slices.ContainsFunc(p.stays, func(t string) bool { return strings.HasPrefix(t, "book:") }) {
		p.stays[0] = busyBook
	}
	p.stays, p.roams = p.stays[:2], p.stays[2]
	switch {
	case isMute(name):
		p.stays = []string{busyBook, busyHall}
	case p.trickles && !slices.Contains(p.stays, busyBook):
		p.stays[0] = busyBook
	}
	for slices.Contains(p.stays, p.roams) {
		p.roams = topics[p.dice.n(len(topics))]
	}
	for _, topic := range append(slices.Clone(p.stays), p.roams) {
		p.ledgers[topic] = newLedger(p.name, topic, p.dialect.placed, s)
		p.joins[topic] = &join{wants: topic != p.roams}
	}
}

func (p *peer) common() *peer { return p }

// fault is what the next link of this client does.
func (p *peer) fault() fault {
	if isMute(p.name) {
		return fault{}
	}
	f := randomFault(p.dice)
	f.tally = &p.tally
	if p.trickles {
		f.rate = p.stage.trickle
	}
	return f
}

func (p *peer) head(more ...string) http.Header {
	h := http.Header{"Authorization": {"Bearer " + p.name}}
	for i := 0; i+1 < len(more); i += 2 {
		h.Set(more[i], more[i+1])
	}
	return h
}

// rest waits before the next attempt to connect. It reports false when there is none.
func (p *peer) rest() bool {
	timer := time.NewTimer(p.dice.between(20*time.Millisecond, 400*time.Millisecond))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.stopped:
	}
	return !p.isStopped()
}

func (p *peer) isStopped() bool {
	select {
	case <-p.stopped:
		return true
	default:
		return false
	}
}

// nextRef is one that this client has not used. p.mu is held.
func (p *peer) nextRef() string {
	p.ref++
	return strconv.Itoa(p.ref)
}

// joining makes the frame that joins a topic. p.mu is held.
func (p *peer) joining(topic string) string {
	j := p.joins[topic]
	ref := p.nextRef()
	*j = join{wants: true, ref: ref, since: p.ledgers[topic].position()}
	payload := map[string]any{"@last": 0}
	if j.since != nil {
		payload = map[string]any{"@since": j.since}
	}
	if !p.dialect.answers { // and nobody is refused
		j.in = true
		p.ledgers[topic].begin(reply{}, nil)
	}
	return p.dialect.encode(ref, ref, topic, "phx_join", payload)
}

// wanted makes the frames that join all topics that the client wants to be in. p.mu is held.
func (p *peer) wanted() []string {
	var frames []string
	for _, topic := range p.order() {
		if p.joins[topic].wants {
			frames = append(frames, p.joining(topic))
		}
	}
	return frames
}

// order is that in which a client joins.
func (p *peer) order() []string { return append(slices.Clone(p.stays), p.roams) }

// ended ends all joins, with their client socket; what was sent and not answered is
// unknown. p.mu is held.
func (p *peer) ended() {
	clear(p.pushes)
	for topic, j := range p.joins {
		j.ref, j.in, j.leave = "", false, ""
		p.ledgers[topic].end()
	}
}

// roam makes the frame that joins, or leaves, the topic that the client is not always
// in; "" if it is just about that. It may do so with its position, or without. p.mu is
// held.
func (p *peer) roam() string {
	topic := p.roams
	j := p.joins[topic]
	switch {
	case j.ref == "" && j.leave == "":
		if p.dice.one(3) {
			p.ledgers[topic].forget()
		}
		return p.joining(topic)
	case j.in && j.leave == "":
		j.wants, j.leave = false, p.nextRef()
		return p.dialect.encode(j.ref, j.leave, topic, "phx_leave", map[string]any{})
	}
	return ""
}

// say makes the frame of a push in a topic, "" if the client is not in it. P.mu is held.
func (p *peer) say() string {
	topics := p.order()
	topic := topics[p.dice.n(len(topics))]
	j := p.joins[topic]
	if !j.in || j.leave != "" || len(p.pushes) > 100 {
		return ""
	}
	p.n++
	most := 2_000
	if p.dice.one(10) {
		most = 60_000
	}
	what := said{p.name, p.n, p.dice.size(most)}
	event := "say"
	if p.dice.one(3) {
		event = "hum"
	}
	ref := p.nextRef()
	if p.dialect.answers {
		p.pushes[ref] = push{what, topic, event}
	}
	p.sent = append(p.sent, what)
	return p.dialect.encode(j.ref, ref, topic, event, what.payload())
}

// take takes a frame of a topic. P.mu is held.
func (p *peer) take(f frame) {
	j, known := p.joins[f.topic]
	if !known {
		p.stage.fault("%s: a frame of %s, which it never joined", p.name, f.topic)
		return
	}
	l := p.ledgers[f.topic]
	switch f.event {
	case "said":
		if f.joinRef != "" && f.joinRef != j.ref {
			return // of a former join
		}
		l.see(f.offset(), f.payload)
	case "phx_close", "presence_state", "presence_diff":
	case "phx_reply":
		r, err := f.reply()
		if err != nil {
			p.stage.fault("%s: reply %s: %v", p.name, f.payload, err)
		}
		p.answered(f, r, j, l)
	case "phx_error":
		if !p.stage.world.ailed(time.Now()) {
			p.stage.fault("%s in %s: phx_error %s", p.name, f.topic, f.payload)
		}
		p.failed(f.topic)
	default:
		p.stage.fault("%s in %s: got %s %s", p.name, f.topic, f.event, f.payload)
	}
}

// failed takes the end of a join, which is not the client's. What it has pushed and has no
// answer to is unknown. P.mu is held.
func (p *peer) failed(topic string) {
	j := p.joins[topic]
	j.ref, j.in, j.leave = "", false, ""
	p.ledgers[topic].end()
	maps.DeleteFunc(p.pushes, func(_ string, one push) bool { return one.topic == topic })
	p.changed.Broadcast()
}

// again joins what the client wants to be in, and is not, nor will be. P.mu is held.
func (p *peer) again(send func(text string)) {
	for _, topic := range p.order() {
		if p.isOut(topic) {
			send(p.joining(topic))
		}
	}
}

// isOut reports whether the client wants to be in a topic, and has not begun to join it. P.mu
// is held.
func (p *peer) isOut(topic string) bool {
	j := p.joins[topic]
	return j.wants && j.ref == "" && j.leave == ""
}

// answered takes a reply. P.mu is held.
func (p *peer) answered(f frame, r reply, j *join, l *ledger) {
	push, isPush := p.pushes[f.ref]
	ailed := p.stage.world.ailed(time.Now())
	switch {
	case isPush:
		delete(p.pushes, f.ref)
		p.pushed(push, r, ailed)
	case r.Status != "ok" && f.ref == j.ref && !j.in && ailed && r.Response.Reason == "unavailable":
		p.failed(f.topic)
	case ailed && r.Response.Reason == "unmatched topic": // it was sent as its join failed
	case r.Status != "ok":
		p.stage.fault("%s in %s: the reply to %s is %s", p.name, f.topic, f.ref, f.payload)
	case f.ref == j.leave && j.leave != "":
		j.ref, j.in, j.leave = "", false, ""
		l.end()
	case f.ref == j.ref && !j.in:
		j.in = true
		l.begin(r, j.since)
	case ailed && f.ref != j.ref && f.ref != j.leave: // its join has failed meanwhile
	default:
		p.stage.fault("%s in %s: a reply to %q, which it did not send, or has a reply to", p.name, f.topic, f.ref)
	}
	p.changed.Broadcast()
}

// pushed takes the reply to a push. P.mu is held.
func (p *peer) pushed(push push, r reply, ailed bool) {
	keeps := isRetained(push.topic) && push.event == "say"
	result := done
	switch why := r.Response.Reason; {
	case r.Status == "ok":
		p.acked = append(p.acked, push.what)
	case why == "outcome unknown" && (ailed || !keeps): // nobody promises that what is not retained comes
		result = unknown
	case ailed && (why == "unavailable" || why == "internal"): // the latter as its client was being disconnected while it waited
		result = refused
	default:
		p.stage.fault("%s in %s: the reply to %v is %s %s", p.name, push.topic, push.what, r.Status, why)
		return
	}
	if keeps {
		p.retained = append(p.retained, published{push.topic, push.what, result, r.Response.Offset})
	}
}
