package model

import "testing"

// mutants are protocols that are wrong: rules that somebody might well have
// written, some of them ours until the checker found the way they fail.
var mutants = []struct {
	name  string
	rules rules
	bounds
}{
	{"a hello kills the secret that was shown for it", rules{killsAtHello: true}, pair},
	{"a promotion kills the secrets of younger hellos, too", rules{killsYounger: true}, small},
	{"secrets never die", rules{killsNothing: true}, pair},
	{"secrets are dropped by age, not by last use", rules{forgetsUse: true}, few},
	{"the request of a stream is judged by what it has received", rules{judgesRequest: true}, pair},
	{"a promotion begins after what was acknowledged before", rules{rewindsToAcked: true}, pair},
	{"a promotion begins with what the ring has left", rules{skipsTheHole: true}, short},
	{"the ring forgets what is written", rules{forgetsWritten: true}, pair},
	{"candidates carry counted frames", rules{writesToCandidates: true}, pair},
	{"the former connection is read on", rules{readsFormer: true}, pair},
	{"the overlap of a POST is applied", rules{takesOverlap: true}, pair},
	{"a POST that comes again promotes again", rules{promotesAgain: true}, pair},
	{"the grace period runs on after a promotion", rules{timerRunsOn: true}, pair},
	{"a WebSocket counts from what the server has when it is promoted", rules{countsFromPromotion: true}, pair},

	{"the client sends everything again, whatever hello says", rules{ignoresBase: true}, pair},
	{"the client forgets frames while it attaches", rules{forgetsDuringAttach: true}, two},
	{"the client reads on from the former connection", rules{hearsFormer: true}, pair},
	{"the client promotes what it began before its last promotion", rules{keepsOthers: true}, small},
	{"the client sends a POST once", rules{neverRetries: true}, tiny},
}

var (
	small = bounds{up: 1, down: 1, ring: 1, conns: 3, attempts: 2, candidates: 2, webSocket: true}
	pair  = bounds{up: 1, down: 1, ring: 1, conns: 2, attempts: 1, candidates: 1, copies: 2, webSocket: true, stream: true}
	two   = bounds{up: 2, down: 0, ring: 1, conns: 2, attempts: 1, candidates: 1, copies: 1, webSocket: true, stream: true}
	short = bounds{up: 1, down: 2, ring: 1, conns: 2, attempts: 1, candidates: 2, webSocket: true}
	tiny  = bounds{up: 1, down: 1, ring: 1, conns: 1, candidates: 2, copies: 1, stream: true}
	few   = bounds{up: 1, down: 0, ring: 1, conns: 2, attempts: 1, candidates: 2, secrets: 4, webSocket: true}
)

func TestMutants(t *testing.T) {
	for _, c := range mutants {
		t.Run(c.name, func(t *testing.T) {
			e, wrong := explore(&machine{bounds: c.bounds, rules: c.rules})
			if wrong == "" {
				t.Fatalf("nothing is wrong in %d states", len(e.from))
			}
			t.Log(wrong)
		})
	}
}
