package contract

import (
	"time"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
)

// behaviour is one thing that is promised.
type behaviour struct {
	name    string
	needs   need
	limits  chime.Limits
	history channel.History // of the room; zero keeps 1000 messages and replays none
	grace   time.Duration   // zero is the default
	timed   bool            // time passes as soon as everybody waits, in a bubble
	script  func(*stage)
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
	return (b.needs&inStep == 0 || kept.Broker == nil) &&
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
}

// Transports are all that there are. On "moving" a client changes its connection,
// of either transport, at random.
var Transports = []*Transport{
	{"websocket", "phoenix", true, dialPhoenix, nil},
	{"websocket", "phoenix1", true, dialPhoenix1, nil},
	{"websocket", "chime", true, dialChime, dialLastingOn("websocket")},
	{"websocket", "amber", false, dialAmber, nil},
	{"sse", "chime", true, dialStream, dialLastingOn("sse")},
	{"sse", "bare", false, dialBare, nil},
	{"moving", "chime", true, dialMoving, dialMoving},
}
