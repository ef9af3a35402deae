package clientsocket

import "sync/atomic"

// Refusal is why something was refused because of a limit.
type Refusal int

// The causes, in the order of their names.
const (
	RefusedFrame    Refusal = iota // beyond FramesPerSecond or BytesPerSecond
	RefusedJoin                    // beyond JoinsPerSecond
	RefusedFlood                   // a client socket that was ended, since it went on
	RefusedConnect                 // beyond ConnectsPerSecond
	RefusedPost                    // beyond PostsPerSecond
	RefusedSecond                  // a POST beside another with the same secret
	RefusedIdentity                // beyond IdentitySockets
	RefusedSockets                 // beyond ClientSockets
	RefusedOrigin                  // a foreign page
	refusals
)

// Names of the causes.
var refusalNames = [refusals]string{"frame_rate", "join_rate", "flood", "connect_rate", "post_rate", "post_busy", "identity_sockets", "client_sockets", "origin"}

// Refusals count what was refused. They may be used by many at once.
type Refusals struct{ counts [refusals]atomic.Uint64 }

// Add counts one.
func (r *Refusals) Add(why Refusal) { r.counts[why].Add(1) }

// Counts returns how many there were, by the name of the cause.
func (r *Refusals) Counts() map[string]uint64 {
	counts := make(map[string]uint64, refusals)
	for why, name := range refusalNames {
		counts[name] = r.counts[why].Load()
	}
	return counts
}
