package broker

import (
	"errors"
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
	// Nodes says that what is published on one node is announced on others.
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

// Survival is what retained messages survive. Each survives what the ones before it do.
type Survival int

// What a message may survive.
const (
	SurvivesNothing Survival = iota // it is gone with the process of the broker or of its engine
	SurvivesKill                    // that process is killed, and begins again on the same machine
	SurvivesNode                    // a machine is lost, with its disk
	SurvivesPower                   // all machines lose power at once
)

// String returns a few words for a log or a page.
func (s Survival) String() string {
	switch s {
	case SurvivesNothing:
		return "nothing"
	case SurvivesKill:
		return "a kill"
	case SurvivesNode:
		return "the loss of a node"
	}
	return "a power cut"
}
