package stats

import (
	"slices"
	"sync/atomic"
)

// Refusal is why something was refused.
type Refusal int

// The causes, in the order of their names.
const (
	RefusedFrame       Refusal = iota // beyond FramesPerSecond or BytesPerSecond
	RefusedJoin                       // beyond JoinsPerSecond
	RefusedFlood                      // a client socket that was ended, since it went on
	RefusedConnect                    // beyond ConnectsPerSecond
	RefusedPost                       // beyond PostsPerSecond
	RefusedSecond                     // a POST beside another with the same secret
	RefusedIdentity                   // beyond IdentitySockets
	RefusedSockets                    // beyond ClientSockets
	RefusedTopics                     // beyond Topics
	RefusedInbox                      // beyond InboxMessages or InboxBytes
	RefusedOrigin                     // a foreign page
	RefusedByConnect                  // by RefuseConnect, or an identity that has expired
	RefusedUnavailable                // WithConnect has failed
	RefusedForeign                    // a secret of another identity's client socket
	RefusedDraining                   // the server shuts down
)

var refusals = []string{
	"frame_rate", "join_rate", "flood", "connect_rate", "post_rate", "post_busy", "identity_sockets", "client_sockets",
	"topics", "inbox", "origin", "connect", "connect_failed", "foreign_secret", "drain",
}

// Slow is by what a client was slow.
type Slow int

// The causes.
const (
	SlowQueue  Slow = iota // beyond QueueBytes
	SlowTotal              // beyond its part of TotalQueueBytes
	SlowStuck              // nothing was taken for StuckFor
	SlowUnread             // beyond UnackedBytes or UnackedMessages, when it came back
)

var slows = []string{"queue", "total_queue", "stuck", "unacked"}

// String returns the name of a cause.
func (s Slow) String() string { return slows[s] }

// Resume is what became of a connection that was to go on with a client socket.
type Resume int

// The outcomes.
const (
	Resumed Resume = iota
	Moved          // the former connection was still there
	Missed         // more than is kept
	Unknown        // its client socket has ended, or is another server's
)

var resumes = []string{"resumed", "moved", "missed_too_much", "unknown"}

// Join is what became of a join.
type Join int

// The outcomes.
const (
	Accepted Join = iota
	Refused
)

var joins = []string{"accepted", "refused"}

// Recovery is what became of a join that gave a position.
type Recovery int

// The outcomes.
const (
	Recovered Recovery = iota // it missed nothing
	Gap                       // something in between is no longer kept
	Unread                    // the history could not be read
)

var recoveries = []string{"recovered", "gap", "unread"}

// Failure is why a broadcast has returned the error of a store or a broker.
type Failure int

// The causes.
const (
	FailedOtherwise   Failure = iota
	FailedFull                // there is no room
	FailedTooLarge            // for the broker
	FailedUnavailable         // the broker can't be reached, and nothing was done
	FailedUncertain           // nobody knows whether it was done
)

var failures = []string{"other", "full", "too_large", "unavailable", "uncertain"}

// Scope is of what a broker may have lost announcements.
type Scope int

// The scopes.
const (
	OfTopic Scope = iota // of one
	OfAll                // of all, as when a connection was made again
)

var scopes = []string{"topic", "all"}

// Find is what has shown that announcements were missing, of which the broker had said nothing.
type Find int

// The finds.
const (
	ByMessage Find = iota // one came that follows others
	ByLook                // at where the topic ends
)

var finds = []string{"message", "look"}

// ends are the names of transport.Reason.
var ends = []string{"closed", "vanished", "slow", "kicked", "expired", "drain"}

// Causes counts by cause. Each place in which something can end, or be refused, has its
// own, and that is seldom: they share cache lines.
type Causes[C ~int] struct{ counts [16]atomic.Uint64 }

// Add counts one.
func (c *Causes[C]) Add(why C) { c.counts[why].Add(1) }

func (c *Causes[C]) samples(names []string, values ...string) []Sample {
	list := make([]Sample, len(names))
	for i, name := range names {
		list[i] = Sample{Values: append(slices.Clip(values), name), Value: float64(c.counts[i].Load())}
	}
	return list
}
