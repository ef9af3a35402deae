package broker

import (
	"errors"
	"strings"
	"time"
)

// ErrUncertain is what an error of Publish or Erase is when nobody can say whether it was
// done: the broker did not answer. To do it again may do it twice, unless it has a Key.
var ErrUncertain = errors.New("the outcome is not known")

// ErrUnavailable is what an error is when a broker can't be reached, or has no leader, and
// nothing was done.
var ErrUnavailable = errors.New("the broker can't be reached")

// ErrTooLarge is what an error of Publish is for a message that the broker does not take.
var ErrTooLarge = errors.New("the message is too large for the broker")

// Caps is what a Broker promises beyond its interface, as its engine is set up. A broker
// that can't find out declares the least.
type Caps struct {
	// Nodes says that what is published on one node is announced on others. Without it no
	// announcement is ever missing.
	Nodes bool
	// Survives is what a retained message survives once Publish has returned.
	Survives Survival
	// Keys is for how long a Key is remembered, or longer; 0: as long as its message is
	// retained.
	Keys time.Duration
	// Payload is the most bytes that an event and its payload may have together, else
	// Publish returns ErrTooLarge; 0: the broker has no bound of its own.
	Payload int
}

// Survival is what retained messages survive: nothing, or some of what follows. One disk that is
// written to at once survives power cuts and not its own end; three machines that write
// to theirs later, the other way round.
type Survival uint8

// What a message may survive.
const (
	SurvivesKill  Survival = 1 << iota // the process of the engine, or of the broker, is killed, and begins again on the same machine
	SurvivesNode                       // a machine is lost, with its disk
	SurvivesPower                      // all machines lose power at once, and keep their disks

	SurvivesNothing Survival = 0 // it is gone with that process
)

// Includes reports whether s is of all that other is of.
func (s Survival) Includes(other Survival) bool { return s&other == other }

// String returns a few words for a log or a page.
func (s Survival) String() string {
	var list []string
	for _, one := range []struct {
		is   Survival
		text string
	}{{SurvivesKill, "a kill"}, {SurvivesNode, "the loss of a node"}, {SurvivesPower, "a power cut"}} {
		if s.Includes(one.is) {
			list = append(list, one.text)
		}
	}
	switch n := len(list); n {
	case 0:
		return "nothing"
	case 1:
		return list[0]
	default:
		return strings.Join(list[:n-1], ", ") + " and " + list[n-1]
	}
}
