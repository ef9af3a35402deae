package chime_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/internal/leak"
	"github.com/go-chime/chime/store"
)

func TestMain(m *testing.M) { leak.Main(m) }

// TestContract is what a channel and its clients are promised, each behaviour
// as one script that is run on every transport, in every dialect and over every
// store that has it: TestContract/<behaviour>/<transport>/<dialect>/<store>. On
// the transport "moving" the client changes its connection at random.
func TestContract(t *testing.T) {
	for _, b := range slices.Concat(joining, answering, sending, suffering, leaving, remembering, resuming, lasting) {
		t.Run(b.name, func(t *testing.T) {
			for _, w := range wires {
				for _, k := range kept {
					if !b.isFor(w, k.open != nil) {
						continue
					}
					t.Run(w.transport+"/"+w.dialect+"/"+k.name, func(t *testing.T) {
						play := func(t *testing.T) {
							var history store.Store
							if k.open != nil {
								history = k.open(t)
							}
							b.script(newStage(t, &b, w, history))
						}
						if b.timed {
							synctest.Test(t, play)
						} else {
							play(t)
						}
					})
				}
			}
		})
	}
}

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

// need is what a script can not do without.
type need int

const (
	toSend       need = 1 << iota // a client that sends, and is answered
	toRemember                    // a store
	toForget                      // none
	bareOnly                      // a bare stream
	toBeTold                      // a dialect with replies
	toBePlaced                    // one with positions
	toCarryBytes                  // one with binary payloads
	toComeBack                    // a dialect whose clients resume
	toBeGone                      // one whose clients can't
)

func (b behaviour) isFor(w *wire, remembers bool) bool {
	return (b.needs&toSend == 0 || w.sends) &&
		(b.needs&toRemember == 0 || remembers) &&
		(b.needs&toForget == 0 || !remembers) &&
		(b.needs&bareOnly == 0 || w.dialect == "bare") &&
		(b.needs&(toBeTold|toCarryBytes) == 0 || w.dialect != "amber") &&
		(b.needs&toComeBack == 0 || w.lasting != nil) &&
		(b.needs&toBeGone == 0 || w.lasting == nil) &&
		(b.needs&toBePlaced == 0 || w.dialect != "amber" && w.dialect != "phoenix1")
}

// wire is a transport and what is spoken on it.
type wire struct {
	transport, dialect string
	sends              bool // and is answered; what Amber's clients send is in amber_test.go
	dial               func(visit) (line, error)
	lasting            func(visit) (line, error) // of a client that can lose its connection and come back
}

var wires = []*wire{
	{"websocket", "phoenix", true, dialPhoenix, nil},
	{"websocket", "phoenix1", true, dialPhoenix1, nil},
	{"websocket", "chime", true, dialChime, dialLastingOn("websocket")},
	{"websocket", "amber", false, dialAmber, nil},
	{"sse", "chime", true, dialStream, dialLastingOn("sse")},
	{"sse", "bare", false, dialBare, nil},
	{"moving", "chime", true, dialMoving, dialMoving},
}

// kept are the stores; nil has no store at all.
var kept = []struct {
	name string
	open func(*testing.T) store.Store
}{
	{"memory", func(t *testing.T) store.Store {
		s := store.NewMemory()
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
		return s
	}},
	{"bolt", func(t *testing.T) store.Store { return openFile(t) }},
	{"none", nil},
}
