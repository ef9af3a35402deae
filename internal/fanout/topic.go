// Package fanout sends what is published in a topic to its members.
//
// A member of a topic with history is a position. One that is behind is sent
// pages of the history, from memory or from the broker, as its queue has room
// for them; at the top, under the topic's lock, it becomes live and is sent what
// is announced. A live member whose queue has no room for a retained message, or
// that has missed one, is behind again. So a join, a slow client and an
// announcement that did not come are one thing, and each member is sent every
// retained message once and in order, or is told that it can't be.
//
// The package knows no channel, no handler, no transport and no other topic.
package fanout

import (
	"errors"
	"sync"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/mono"
	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/internal/task"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/store"
)

// ErrGap is what a member fails with that can't be sent all it has not had: the
// history no longer has it, or has another epoch.
var ErrGap = errors.New("the history no longer has what follows the position")

// ErrUnread is what a member fails with that has joined while nobody could read where the
// topic ends, once that is known: what was said since may be before that.
var ErrUnread = errors.New("the history could not be read when it joined")

// Config is what the topics of a node work with.
type Config struct {
	History broker.History // nil: nothing is retained
	Keep    int            // how many messages the history keeps
	Age     time.Duration  // how long it keeps them; 0: for ever
	Sure    bool           // no announcement is ever missing, or comes late: there is one node
	Replay  int            // how many of the newest most joins want
	Budget  *Budget        // what the tails of all topics may take
	Checks  *Checks        // what looks for announcements that are missing
	Tasks   *task.Group    // whose goroutines send pages and tell of failures
	Picture Picture        // what members are shown besides messages; nil: nothing
	Copies  *Copies        // what drafts of other nodes may take; nil: there are none

	Seconds *stats.Histogram          // how long fan-outs take; nil: nobody counts
	Found   *stats.Causes[stats.Find] // missing announcements that nobody had told of; nil: the same

	// BeginRound returns what is closed when each connection that has something to write
	// has been written to once; nil if none has. Nil: there are no connections.
	BeginRound func() <-chan struct{}
}

// timedMembers is how many members a topic has whose fan-outs are timed. To read the
// clock twice costs as much as to queue a message for one or two, and for fewer than
// these that takes less than the first bucket of the histogram: it counts as no time.
const timedMembers = 32

// Topic is a topic with members. It must be closed when it has none. Its methods
// are safe for concurrent use.
type Topic struct {
	name    string
	picture Picture // nil: none
	seconds *stats.Histogram

	// mu orders what happens in the topic, and guards what follows and the state
	// of each member. It is held for a whole fan-out, over memory operations only,
	// and taken before the locks of an owner, a Pager and a client socket.
	mu      sync.Mutex
	members roster
	lead    lead
	feed    *feed // nil: nothing is retained
	drafts  drafts
	copies  *copies // nil: there are no other nodes
}

// New returns a topic without members.
func New(name string, c Config) *Topic {
	t := &Topic{name: name, members: roster{tasks: c.Tasks}, lead: lead{round: c.BeginRound}, picture: c.Picture, seconds: c.Seconds}
	t.drafts = drafts{topic: name, members: &t.members}
	if c.Copies != nil {
		t.copies = &copies{mu: &t.mu, tasks: c.Tasks, room: c.Copies, drafts: &t.drafts}
	}
	if c.History != nil {
		t.feed = newFeed(t, c)
	}
	if t.copies != nil && t.feed != nil {
		t.copies.tail = &t.feed.tail
	}
	return t
}

// Name is the name of the topic.
func (t *Topic) Name() string { return t.name }

// Members calls f with the owner of each member. It does not wait for a fan-out.
func (t *Topic) Members(f func(Owner)) { t.members.each(f) }

// Len is the number of members.
func (t *Topic) Len() int { return t.members.len() }

// Close gives back what the topic takes of the budget. An announcement that is
// still on its way is ignored.
func (t *Topic) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.copies.close()
	if t.feed != nil {
		t.feed.close()
	}
}

// Leave takes m out, if it is in. Nothing is sent to it after that.
func (t *Topic) Leave(m *Member) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m.pages() {
		m.pager.remove(due{m: m})
	}
	t.members.remove(m)
}

// Published sends p to the members. No client can delay it: it returns when p is
// queued for all, and when what went before it has been tried to be written.
func (t *Topic) Published(p broker.Publication) {
	m := messageOf(t.name, &p.Message)
	t.mu.Lock()
	var took time.Duration
	if len(t.members.members) < timedMembers {
		t.announce(m, &p)
	} else {
		began := mono.Now()
		t.announce(m, &p)
		took = mono.Now().Sub(began)
	}
	round := t.lead.step(m.Size())
	t.mu.Unlock()
	t.seconds.Observe(took)
	pause(round)
}

// announce sends m, which was made of p, to the members. t.mu is held: over memory
// operations only.
func (t *Topic) announce(m *wire.Message, p *broker.Publication) {
	t.copies.whole(p.Event, p.Payload, store.Position{Epoch: p.Epoch, Offset: p.Offset})
	if p.Offset == 0 || t.feed == nil { // another node may retain what this one does not
		t.members.send(m, p.From)
		return
	}
	t.feed.announce(m, p)
}

// Erased says that the history no longer has the message at a position, or any up to
// now if its offset is 0.
func (t *Topic) Erased(at store.Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.feed != nil {
		t.feed.erase(at)
	}
}

// Lost says that announcements may be missing. The history is read to learn of
// them, by another goroutine.
func (t *Topic) Lost() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.feed != nil {
		t.feed.lose()
	}
}
