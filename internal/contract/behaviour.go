package contract

import (
	"time"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/transport/transporttest"
)

// behaviour is one thing that is promised.
type behaviour struct {
	name     string
	needs    need
	limits   chime.Limits
	history  channel.History      // of the room; zero keeps 1000 messages and replays none
	grace    time.Duration        // zero is the default
	outgoing channel.OutgoingFunc // of "new"; nil is none
	timed    bool                 // time passes as soon as everybody waits, in a bubble
	script   func(*stage)
}

// noTime is the grace of a script whose clients vanish for good. It is long
// enough for a move, which is none.
const noTime = time.Millisecond

// need is what a script cannot do without.
type need int

const (
	toSend       need = 1 << iota // a client that sends, and is answered
	toRemember                    // a store
	toForget                      // no store
	bareOnly                      // a bare stream
	toBeAnswered                  // a dialect with replies
	toBePlaced                    // a dialect with positions
	toCarryBytes                  // a dialect with binary payloads
	toResume                      // a dialect whose clients resume
	notToResume                   // a dialect whose clients cannot resume
	inStep                        // a broker that has announced what it has published: what is ephemeral comes behind what was retained before
)

func (b *behaviour) isFor(tr *Transport, kept Store) bool {
	remembers := kept.Open != nil
	return (!b.timed || tr.network == nil) && // a script that moves the clock would meet those of the network
		(b.needs&inStep == 0 || kept.Brokers == nil) &&
		(b.needs&toSend == 0 || tr.sends) &&
		(b.needs&toRemember == 0 || remembers) &&
		(b.needs&toForget == 0 || !remembers) &&
		(b.needs&bareOnly == 0 || tr.Dialect == "bare") &&
		(b.needs&(toBeAnswered|toCarryBytes) == 0 || tr.Dialect != "amber") &&
		(b.needs&toResume == 0 || tr.lasting != nil) &&
		(b.needs&notToResume == 0 || tr.lasting == nil) &&
		(b.needs&toBePlaced == 0 || tr.Dialect != "amber" && tr.Dialect != "phoenix1")
}

// Transport is a transport and the dialect that is spoken on it.
type Transport struct {
	Name, Dialect string

	sends   bool // and is answered; what Amber's clients send is in internal/dialect
	dial    func(visit) (line, error)
	lasting func(visit) (line, error) // of a client that can lose its connection and come back
	network *transporttest.Network    // between the clients and the server; nil is none
}

// Transports are all that there are. On "moving" a client changes its connection,
// of any transport, at random.
var Transports = []*Transport{
	{"websocket", "phoenix", true, dialPhoenix, nil, nil},
	{"websocket", "phoenix1", true, dialPhoenix1, nil, nil},
	{"websocket", "chime", true, dialChime, dialLastingOn("websocket"), nil},
	{"websocket", "amber", false, dialAmber, nil, nil},
	{"sse", "chime", true, dialStream, dialLastingOn("sse"), nil},
	{"sse", "bare", false, dialBare, nil, nil},
	{polls, "chime", true, dialPolls, dialLastingOn(polls), nil},
	{"moving", "chime", true, dialMoving, dialMoving, nil},
}

// Through are the transports of the chime dialect that get through a network, and on
// which a script can be played: some have more clients than six connections are for, and
// some look at the header of a refusal, of which a service worker leaves nothing.
func Through(n transporttest.Network) (list []*Transport) {
	if n.Name == "six-connections" || n.Name == "service-worker" {
		return nil
	}
	for _, kind := range n.Passes {
		for _, tr := range Transports {
			if tr.Name == kind && tr.Dialect == "chime" {
				through := *tr
				through.network = &n
				list = append(list, &through)
			}
		}
	}
	return list
}
