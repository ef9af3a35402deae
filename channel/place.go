package channel

import (
	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/fanout"
	"github.com/go-chime/chime/internal/presence"
	"github.com/go-chime/chime/internal/wire"
)

// place is a topic that has users: the sockets that are in it or about to be.
type place struct {
	*fanout.Topic
	roster   *presence.Roster // nil, as presence: the channel has no Presence
	presence *presence.Window[*fanout.Member]

	// Guarded by the shard.
	users      int
	subscribed bool
	closing    bool          // its last user has left
	closed     chan struct{} // closed when it is no longer used; nil if nobody waits for that

	subscribing chan struct{} // full while it is being subscribed to
}

// newPlace returns a topic without users.
func newPlace(topic string, rt *route, r *registry) *place {
	p := &place{subscribing: make(chan struct{}, 1)}
	c := rt.fanout(r.config)
	if rt.present != nil {
		p.roster = presence.NewRoster(topic)
		p.presence = presence.NewWindow(r.refs, p.roster, c.Tasks, func(c broker.Change, came []*fanout.Member) {
			if r.between != nil {
				r.between.Present(topic, c)
			} else {
				p.changed(c)
			}
			p.Reveal(came) // they see themselves
		})
		c.Picture = p.roster
	}
	p.Topic = fanout.New(topic, c)
	return p
}

// changed shows the members who is present by now.
func (p *place) changed(c broker.Change) {
	if p.roster != nil {
		p.Show(func() *wire.Message { return p.roster.Apply(c) })
	}
}

// Close ends what a topic without users still has to do.
func (p *place) Close() {
	p.Topic.Close()
	if p.presence != nil {
		p.presence.Close()
	}
}
