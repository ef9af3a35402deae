package channel

import (
	"encoding/json"
	"errors"

	"github.com/go-chime/chime/internal/fanout"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/store"
)

// ask is what a join wants to be replayed.
type ask struct {
	since *store.Position // everything after it
	last  int             // the newest; -1 is the channel's default
}

// positioned reports whether the join asked for positions.
func (a ask) positioned() bool { return a.since != nil || a.last >= 0 }

// want is what the join is replayed in a topic of r.
func (a ask) want(r *route) fanout.Want {
	if a.last < 0 {
		return fanout.Want{Since: a.since, Last: r.replay}
	}
	return fanout.Want{Since: a.since, Last: a.last}
}

// history is what the reply says of the position at which the join begins. A join
// that gave no position reads of a gap too if the history could not be read: else
// its client would take the topic for an empty one.
func (a ask) history(start *fanout.Start) *wire.History {
	if start == nil {
		return nil
	}
	h := &wire.History{Epoch: start.Epoch, Offset: start.Offset}
	if a.since != nil || start.Unread {
		h.Recovered = &start.Recovered
	}
	return h
}

// parseAsk takes @since and @last out of the payload of a join.
func parseAsk(payload json.RawMessage) (ask, json.RawMessage, error) {
	a := ask{last: -1}
	taken, rest, err := takeOut(payload, memberSince, memberLast)
	if err != nil {
		return a, nil, err
	}
	if text, ok := taken[memberSince]; ok {
		var p struct {
			Epoch  *string `json:"epoch"`
			Offset *uint64 `json:"offset"`
		}
		if json.Unmarshal(text, &p) != nil || p.Epoch == nil || p.Offset == nil {
			return a, nil, errors.New(`malformed @since: want {"epoch":"…","offset":n}`)
		}
		a.since = &store.Position{Epoch: *p.Epoch, Offset: *p.Offset}
	}
	if text, ok := taken[memberLast]; ok {
		if json.Unmarshal(text, &a.last) != nil || a.last < 0 {
			return a, nil, errors.New("malformed @last: want a number from 0")
		}
		a.last = min(a.last, fanout.MaxReplay)
	}
	return a, rest, nil
}
