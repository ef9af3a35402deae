package fanout

import (
	"sync"

	"github.com/go-chime/chime/internal/task"
	"github.com/go-chime/chime/internal/wire"
)

// roster has the members of a topic. All but len and each are called with the
// topic's lock held, which guards the members' states too. It knows no history.
type roster struct {
	tasks *task.Group

	listing sync.Mutex // members is changed with this and the topic's lock held, and read with either
	members []*Member
}

func (r *roster) len() int {
	r.listing.Lock()
	defer r.listing.Unlock()
	return len(r.members)
}

// each calls f with the owner of each member. It does not wait for a fan-out.
func (r *roster) each(f func(Owner)) {
	r.listing.Lock()
	defer r.listing.Unlock()
	for _, m := range r.members {
		f(m.owner)
	}
}

func (r *roster) add(m *Member, s state) {
	r.listing.Lock()
	defer r.listing.Unlock()
	m.index, m.state = int32(len(r.members)), s
	r.members = append(r.members, m)
}

// remove takes m out, if it is in.
func (r *roster) remove(m *Member) {
	if m.state == outside {
		return
	}
	r.listing.Lock()
	defer r.listing.Unlock()
	last := len(r.members) - 1
	r.members[m.index] = r.members[last]
	r.members[m.index].index = m.index
	r.members[last] = nil
	r.members = r.members[:last]
	m.state, m.sight, m.waiting = outside, unseen, nil
}

// send sends an ephemeral message to all members but the client socket from.
func (r *roster) send(msg *wire.Message, from string) {
	for _, m := range r.members {
		switch {
		case m.state == failed, from != "" && m.queue.ID() == from:
		case m.state == live:
			_ = m.queue.Send(msg, "") // a client that has ended hears of it elsewhere
		default:
			m.keep(msg)
		}
	}
}

// show sends something of a draft to the members that are live.
func (r *roster) show(msg *wire.Message) {
	for _, m := range r.members {
		if m.state == live {
			m.shown = true
			_ = m.queue.Send(msg, "") // as send
		}
	}
}

// endDraft sends the end of a draft, or nothing if a message is to replace it. Last says
// that there is no other draft, of which a state would have to say so.
func (r *roster) endDraft(end *wire.Message, last bool) {
	for _, m := range r.members {
		switch m.state {
		case live:
			if end != nil {
				_ = m.queue.Send(end, "") // as send
			}
			m.shown = m.shown && !last
		case behind:
			m.shown = m.shown || end != nil // then a state tells it
		}
	}
}

// endCopy tells the live members that have had everything up to an offset that a draft is
// over. The others are sent its message. Last is as in endDraft.
func (r *roster) endCopy(end *wire.Message, had uint64, last bool) {
	for _, m := range r.members {
		if m.state != live || !m.shown {
			continue
		}
		if m.at >= had {
			_ = m.queue.Send(end, "") // as send
		}
		m.shown = !last
	}
}

// offer sends a retained message, which follows prev, to the members that are
// live. One that has no room for it is behind.
func (r *roster) offer(msg *wire.Message, prev uint64) {
	for _, m := range r.members {
		if m.state == live && msg.Offset > m.at && !m.offerOne(msg) {
			m.fallBehind(prev)
		}
	}
}

// fallBehind has the live members that have not had everything up to an offset
// read what follows had.
func (r *roster) fallBehind(had, offset uint64) {
	for _, m := range r.members {
		if m.state == live && m.at < offset {
			m.fallBehind(had)
		}
	}
}

// fail fails m. Its owner is told by another goroutine, without the topic's lock.
func (r *roster) fail(m *Member, why error) {
	m.state, m.sight, m.waiting = failed, unseen, nil
	r.tasks.Go(func() { m.owner.Fail(why) })
}

// failAll fails all members but those that still join.
func (r *roster) failAll(why error) {
	for _, m := range r.members {
		if m.state == live || m.state == behind {
			r.fail(m, why)
		}
	}
}
