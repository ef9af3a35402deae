package fanout

import (
	"context"

	"github.com/go-chime/chime/internal/wire"
)

// Owner is what a member belongs to: a client in a topic.
type Owner interface {
	// Context ends when the member has left. Reads for it end with it.
	Context() context.Context
	// JoinRef is what retained messages are sent to, if the join asked for positions.
	JoinRef() string
	// Fail says that the member can't be sent what it has not had: ErrGap, or an
	// error of the history. Nothing follows but the end of its join.
	Fail(err error)
}

// Member is a client in a topic. It is embedded in what owns it, and is set up
// by Init before it joins.
type Member struct {
	owner Owner
	pager *Pager
	topic *Topic
	queue Queue // of the client, or what Through has put before it

	// Guarded by topic.mu; index by what guards topic.members.
	index      int32
	state      state
	sight      sight
	positioned bool             // the join asked for positions
	shown      bool             // it may show a draft
	at         uint64           // it has had everything up to here, and all up to the top if it is live
	waiting    *[]*wire.Message // ephemeral messages for when it is live; nil: none
}

// state is how a member is served.
type state int8

const (
	outside state = iota // not in the topic
	joining              // its start is not known yet
	behind               // sent pages
	live                 // sent what is announced
	failed               // sent nothing until it leaves
)

// pages reports whether m is sent something by its pager. topic.mu is held.
func (m *Member) pages() bool { return m.state == behind || m.sight == stale }

// maxWaiting bounds the ephemeral messages that wait for a member that is behind.
// The oldest are dropped: they were not promised.
const maxWaiting = 64

// Init sets m up. Positioned says that its join asked for positions.
func (m *Member) Init(owner Owner, pager *Pager, topic *Topic, positioned bool) {
	m.owner, m.pager, m.topic, m.positioned = owner, pager, topic, positioned
	m.queue = pager.queue
}

// Through has m sent everything but the picture through a queue of its own, which passes it
// on to the client's. It is called before the join. Send and Offer are called with the topic's lock
// held, and the f of Ready without a lock.
func (m *Member) Through(q Queue) { m.queue = q }

// offerOne queues a retained message, and reports whether there was room for it.
// topic.mu is held.
func (m *Member) offerOne(msg *wire.Message) bool {
	joinRef := ""
	if m.positioned {
		joinRef = m.owner.JoinRef()
	}
	return m.queue.Offer(msg, joinRef)
}

// keep has an ephemeral message wait. topic.mu is held.
func (m *Member) keep(msg *wire.Message) {
	if m.waiting == nil {
		m.waiting = new([]*wire.Message)
	}
	if list := *m.waiting; len(list) >= maxWaiting {
		*m.waiting = append(list[:0], list[1:]...)
	}
	*m.waiting = append(*m.waiting, msg)
}

// fallBehind has a live member read what follows an offset that it has had.
// topic.mu is held.
func (m *Member) fallBehind(offset uint64) {
	m.state, m.at = behind, max(m.at, offset)
	if m.sight != stale { // else the pager has m already
		m.pager.add(due{m: m})
	}
}

// rise makes m live, which has had everything up to the top, unless there is no
// room yet for what waits, or for the drafts. topic.mu is held.
func (m *Member) rise() bool {
	for m.waiting != nil && len(*m.waiting) > 0 {
		if !m.queue.Offer((*m.waiting)[0], "") { // Send would end a client that reads
			return false
		}
		*m.waiting = (*m.waiting)[1:]
	}
	if state := m.topic.drafts.now(m.shown); state != nil {
		if !m.queue.Offer(state, "") {
			return false
		}
		m.shown = true
	}
	m.waiting, m.state = nil, live
	return true
}

// offer queues messages for m, and reports whether there was room for all. topic.mu
// is held.
func (m *Member) offer(entries []entry) bool {
	for _, e := range entries {
		if !m.offerOne(e.m) {
			return false
		}
		m.at = e.m.Offset
	}
	return true
}
