package fanout

import "github.com/go-chime/chime/internal/wire"

// Picture is what the members of a topic see as a whole once, and then as it changes:
// who is present. A member that has no room for a change is sent the whole again when
// it has, so it costs no queue. It goes straight to the queue of the client, past what
// Through has put before that: it is the same for all.
type Picture interface {
	// State is the whole. It is called with the topic's lock held, and waits for nothing.
	State() *wire.Message
}

// sight is what a member has seen of the picture.
type sight int8

const (
	unseen sight = iota // nothing, and it is sent no changes
	stale               // it is to be sent the whole, by its pager
	seen                // everything up to now
)

// Show has change alter the picture, and sends the message that tells it to the members
// that have seen what went before; nil is nothing to tell. No client can delay it: it
// returns when that is queued for all, and when what went before it has been tried to
// be written.
func (t *Topic) Show(change func() *wire.Message) {
	t.mu.Lock()
	m := change()
	if m == nil {
		t.mu.Unlock()
		return
	}
	for _, member := range t.members.members {
		if member.sight == seen && !member.pager.queue.Offer(m, "") {
			member.owePicture()
		}
	}
	round := t.lead.step(m.Size())
	t.mu.Unlock()
	pause(round)
}

// Reveal shows the picture, as it is now, to members that have joined. What is to be told
// before is shown before.
func (t *Topic) Reveal(members []*Member) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, m := range members {
		if m.state != live && m.state != behind { // it has left, or failed
			continue
		}
		if t.sendPicture(m); m.sight == unseen {
			m.owePicture()
		}
	}
}

// sendPicture sends m the whole, if there is room. t.mu is held.
func (t *Topic) sendPicture(m *Member) {
	if m.pager.queue.Offer(t.picture.State(), "") {
		m.sight = seen
	}
}

// owePicture has a member sent the whole when there is room. topic.mu is held.
func (m *Member) owePicture() {
	paged := m.pages()
	m.sight = stale
	if !paged {
		m.pager.add(due{m: m})
	}
}
