package chaos

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

// patience is how long anything may take that has to come, on a busy machine.
const patience = 60 * time.Second

// world is an application: its nodes, what joins them, and what befalls them. What must not
// be it tells the test; that goes on, since others may show why.
type world interface {
	// addresses are where the nodes are. They stay, whatever becomes of those.
	addresses() []string
	// publish has a node broadcast in a topic.
	publish(node int, topic string, what said, ephemeral bool) (outcome, store.Position)
	// disconnect has a node end all client sockets of an identity.
	disconnect(node int, name string)
	// drain has one of the nodes shut down, and another one follow.
	drain()
	// ills are what befalls the world, each beside the others. A call returns when one is over.
	ills() []func(*dice)
	// heal returns when nothing ails the world.
	heal()
	// ailed reports whether anything did, so that publishing, joining or reading a history
	// may have failed at a time.
	ailed(at time.Time) bool
	// loses reports whether what was acknowledged may not be there later, as the broker says
	// in its Caps. Then whoever had it is told of a gap.
	loses() bool
	// history is all that was retained of a topic.
	history(topic string) ([]retained, error)
	// present is who is in a topic, as each node says, in the order of their names.
	present(topic string) ([][]string, error)
	// close ends all of it.
	close()
}

// outcome is what whoever has published knows of it.
type outcome string

const (
	done    outcome = "done"    // it is published
	refused outcome = "refused" // it is not
	unknown outcome = "unknown"
)

// outcomeOf is what an error says.
func outcomeOf(err error) (outcome, error) {
	switch {
	case err == nil:
		return done, nil
	case errors.Is(err, broker.ErrUncertain):
		return unknown, nil
	case errors.Is(err, broker.ErrUnavailable):
		return refused, nil
	}
	return refused, err
}

// retained is a message of a history.
type retained struct {
	Offset uint64
	At     time.Time
	Bytes  int
	What   said
}

// retainedOf is a page as it is compared with what was said.
func retainedOf(page store.Page) ([]retained, error) {
	if page.More || !page.Complete {
		return nil, fmt.Errorf("the page is not all: more %t, complete %t", page.More, page.Complete)
	}
	list := make([]retained, len(page.Messages))
	for i, m := range page.Messages {
		what, err := parseSaid(m.Payload)
		if err != nil {
			return nil, fmt.Errorf("at %d: %w", m.Offset, err)
		}
		list[i] = retained{m.Offset, m.At, len(m.Payload), what}
	}
	return list, nil
}

// isRetained reports whether what is said in a topic is.
func isRetained(topic string) bool { return strings.HasPrefix(topic, "book:") }
