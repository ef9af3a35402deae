package model

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/go-chime/chime/internal/need"
)

// wide is more than can be gone through.
var wide = bounds{
	up: 5, down: 5, conns: 5, attempts: 3, candidates: 3, copies: 3,
	webSocket: true, stream: true, showsUnpromoted: true, beats: true, leaves: true,
}

// TestWalk leads many lives at random, each with its own measure of trouble,
// which ends at some time: then all must come to a good end.
func TestWalk(t *testing.T) {
	lives := uint64(need.Rounds(500, 10_000))
	if raceDetector {
		lives = 500
	}
	seed := need.Seed(t)

	done, ended, steps := map[verb]int{}, map[reason]int{}, 0
	for number := range lives {
		l := begin(seed, number)
		l.each = func(a action) { done[a.verb]++ }
		if wrong := l.lead(); wrong != "" {
			var way strings.Builder
			again := begin(seed, number)
			again.each = func(a action) { fmt.Fprintf(&way, "%s\n", again.s.tell(a)) }
			again.lead()
			t.Fatalf("life %d with a ring of %d: %s\n%s", number, l.m.bounds.ring, wrong, &way)
		}
		ended[l.ended]++
		steps += l.steps
	}
	t.Logf("%d steps; %d client sockets lived on, %d were left, %d vanished, %d empty, %d overrun", steps,
		ended[going], ended[left], ended[vanished], ended[empty], ended[overrun])
	for v := range verbs {
		if done[v] == 0 {
			t.Errorf("in no life it happened that %s", new(state).tell(action{verb: v}))
		}
	}
	for why := range reasons {
		if ended[why] == 0 {
			t.Errorf("no life had the end %d", why)
		}
	}
}

// life is one client socket, from its first hello on.
type life struct {
	m     *machine
	r     *rand.Rand
	s     state
	steps int
	ended reason
	each  func(a action) // called before it is done
}

func begin(seed, number uint64) *life {
	r := rand.New(rand.NewPCG(seed, number))
	m := &machine{bounds: wide}
	m.bounds.ring = uint8(1 + r.IntN(5))
	return &life{m: m, r: r, s: m.start(r.IntN(2) == 0)}
}

// lead returns what is wrong, or "".
func (l *life) lead() string {
	troubled, trouble := l.r.IntN(1_000), 0.5*l.r.Float64()
	for range troubled {
		if l.s.wrong == "" {
			l.step(trouble)
		}
	}
	for range 10_000 {
		if l.s.wrong != "" || l.m.done(&l.s) {
			return l.s.wrong
		}
		if l.s.client.phase == bye {
			l.step(0.1) // the grace period has to run out
		} else {
			l.step(0)
		}
	}
	return "nothing comes to a good end, even without further trouble"
}

// step does one thing, with some probability a trouble.
func (l *life) step(trouble float64) {
	var troubles, others []action
	for _, a := range l.m.actions(&l.s, nil) {
		if a.trouble() {
			troubles = append(troubles, a)
		} else {
			others = append(others, a)
		}
	}
	from := others
	if trouble > 0 && len(troubles) > 0 && (len(others) == 0 || l.r.Float64() < trouble) {
		from = troubles
	}
	if len(from) == 0 {
		return
	}
	a := from[l.r.IntN(len(from))]
	if (a.verb == saysBye || a.verb == runsOut) && l.s.client.phase == alive && l.r.IntN(50) > 0 {
		return // a life should be long
	}
	l.each(a)
	l.m.do(&l.s, a)
	l.steps++
	if l.s.server.over != going {
		l.ended = l.s.server.over
	}
}
