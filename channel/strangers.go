package channel

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/mono"
	"github.com/go-chime/chime/internal/quiet"
)

// lookAgain is how long after a look that not all have answered there may be another.
const lookAgain = time.Minute

// strangers looks for nodes of another application. Two that have one prefix by mistake
// publish in each other's topics, and nothing fails: what gives them away is that they have no
// channel in common. Versions of one application have some.
type strangers struct {
	peers  *peers
	log    *slog.Logger
	routes *routes
	fixed  *atomic.Bool // no channel is added any more
	named  quiet.Once[string]
	next   atomic.Int64 // mono.Instant: when there may be a look; 0 is at once, and there is none once all have answered
}

// channelsText is what a node serves, as nodes tell each other.
type channelsText struct {
	Node     string   `json:"node"`
	Name     string   `json:"name"`
	Patterns []string `json:"patterns"`
}

// mine is what this node serves, which is known when it has had a client.
func (s *strangers) mine() channelsText {
	t := channelsText{Node: s.peers.self.ID, Name: s.peers.self.Name}
	if s.fixed.Load() {
		for _, r := range *s.routes {
			t.Patterns = append(t.Patterns, r.pattern.text)
		}
	}
	return t
}

// due reports whether it is time for a look, which is up to whoever is told so.
func (s *strangers) due() bool {
	next := s.next.Load()
	return s.peers.cluster != nil && (next == 0 || next <= int64(mono.Now())) && s.next.CompareAndSwap(next, int64(mono.Now().Add(lookAgain)))
}

// look asks the other nodes what they serve.
func (s *strangers) look(ctx context.Context) {
	mine := s.mine()
	err := s.peers.ask(ctx, request{Channels: &mine}, func(_ broker.Node, body []byte) error {
		var theirs channelsText
		if err := json.Unmarshal(body, &theirs); err != nil {
			return err
		}
		s.compare(theirs)
		return nil
	})
	if err == nil {
		s.next.Store(int64(mono.Never)) // who begins later looks for this one
	}
}

// compare warns of a node that serves none of the channels of this one.
func (s *strangers) compare(theirs channelsText) {
	mine := s.mine().Patterns
	if len(mine) == 0 || len(theirs.Patterns) == 0 || slices.ContainsFunc(theirs.Patterns, func(p string) bool { return slices.Contains(mine, p) }) {
		return
	}
	if first, kept := s.named.Add(theirs.Node); !first || !kept {
		return
	}
	s.log.Warn("a node serves none of the channels of this one: if it is of another application, give each a prefix of its own on the engine",
		"node", theirs.Node, "name", theirs.Name, "its_channels", list(theirs.Patterns), "channels", list(mine))
}

// list is the first few of some patterns, for a log.
func list(patterns []string) string {
	const few = 8
	if len(patterns) > few {
		patterns = append(slices.Clone(patterns[:few]), "…")
	}
	return strings.Join(patterns, " ")
}
