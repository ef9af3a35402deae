package server_test

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/internal/server"
	"github.com/go-chime/chime/transport"
)

// schedule is what happens to a client socket: who says what, and what becomes
// of the connections in the meantime.
type schedule struct {
	First    string // the transport of the first connection
	Fate     fault  // of that, once it is open
	AckEvery uint64
	Steps    []step
	Posts    []postFate
}

type step struct {
	Wait time.Duration // before it; without, it is at once with the one before
	Do   string        // what: one of those below
	N    int           // how many frames
	Size int           // of their payloads, about
	To   string        // the transport of the connection that is opened
	Fate fault         // of that
	Hold time.Duration // how long it is open before it is promoted
}

const (
	stepUp     = "client says"
	stepDown   = "server says"
	stepAttach = "attach"
	stepCut    = "cut"
	stepMute   = "mute"
	stepBeat   = "beat"
)

// Times. All that is lost in a schedule is found again within the grace.
const (
	propertyGrace = 2 * time.Minute
	maxSteps      = 24
	maxWait       = 3 * time.Second
	maxHold       = 12 * time.Second // longer than a candidate may be
)

var (
	transports = rapid.SampledFrom(everyTransport)
	// A request has some 200 bytes, its answer and hello some 700, a frame 40.
	position = rapid.OneOf(rapid.Just(0), rapid.IntRange(1, 600), rapid.IntRange(1, 3000))
	pause    = rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(rapid.OneOf(rapid.Just(0), rapid.IntRange(0, 50), rapid.IntRange(0, int(maxWait.Milliseconds()))).Draw(t, "ms")) * time.Millisecond
	})
	faults = rapid.Custom(func(t *rapid.T) fault {
		return fault{
			Up:    position.Draw(t, "up"),
			Down:  position.Draw(t, "down"),
			Delay: time.Duration(rapid.OneOf(rapid.Just(0), rapid.IntRange(0, 1500)).Draw(t, "delay")) * time.Millisecond,
			Mute:  rapid.IntRange(0, 7).Draw(t, "mute") == 7,
		}
	})
	fates = rapid.Custom(func(t *rapid.T) postFate {
		return postFate{
			Fault:  faults.Draw(t, "fault"),
			Copies: rapid.IntRange(0, 2).Draw(t, "copies"),
			Apart:  2 * pause.Draw(t, "apart"),
		}
	})
	steps = rapid.Custom(func(t *rapid.T) step {
		s := step{Wait: pause.Draw(t, "wait")}
		s.Do = rapid.SampledFrom([]string{stepUp, stepUp, stepDown, stepDown, stepAttach, stepAttach, stepAttach, stepCut, stepMute, stepBeat}).Draw(t, "do")
		switch s.Do {
		case stepUp, stepDown:
			s.N, s.Size = rapid.IntRange(1, 8).Draw(t, "n"), rapid.IntRange(0, 300).Draw(t, "size")
		case stepAttach:
			s.To, s.Fate = transports.Draw(t, "to"), faults.Draw(t, "fate")
			if rapid.IntRange(0, 3).Draw(t, "holds") == 3 {
				s.Hold = time.Duration(rapid.IntRange(0, int(maxHold.Milliseconds())).Draw(t, "hold")) * time.Millisecond
			}
		}
		return s
	})
	schedules = rapid.Custom(func(t *rapid.T) schedule {
		return schedule{
			First:    transports.Draw(t, "first"),
			Fate:     faults.Draw(t, "fate"),
			AckEvery: uint64(rapid.IntRange(1, 20).Draw(t, "ack every")),
			Steps:    rapid.SliceOfN(steps, 1, maxSteps).Draw(t, "steps"),
			Posts:    rapid.SliceOfN(fates, 0, 10).Draw(t, "posts"),
		}
	})
)

// run plays a schedule, in a bubble. Then the network becomes a good one, and
// what each side has heard must be what the other has said.
func (s schedule) run(f flaw) error {
	h, err := newHall(server.Config{Grace: propertyGrace})
	if err != nil {
		return err
	}
	h.answers = true
	c := newResumer(h, s.AckEvery, f)
	var attaches sync.WaitGroup
	attach := func(kind string, f fault, hold time.Duration) {
		attaches.Go(func() { c.attach(kind, f, hold) })
	}
	attach(s.First, fault{}, 0)
	synctest.Wait()
	p := &play{hall: h, client: c, app: <-h.apps}
	// One on which nothing was counted would not outlive its connection.
	p.take(step{Do: stepUp, N: 1}, attach)
	synctest.Wait()
	c.present().plug.limit(s.Fate)
	for _, fate := range s.Posts {
		c.posts <- fate
	}
	for _, step := range s.Steps {
		time.Sleep(step.Wait)
		p.take(step, attach)
	}
	h.net.mend()
	c.spare()
	err = p.settle(attach)
	c.leave()
	time.Sleep(5 * time.Second) // for what hangs up
	err = errors.Join(err, p.ending())
	h.net.end() // a connection that the goodbye has not ended would be waited for in vain
	attaches.Wait()
	return errors.Join(err, h.close())
}

// play is a schedule under way.
type play struct {
	hall   *hall
	client *resumer
	app    *app
	up     []string // payloads that the client has sent
	down   int
}

func (p *play) take(s step, attach func(string, fault, time.Duration)) {
	switch s.Do {
	case stepUp:
		for range s.N {
			payload := fmt.Sprintf(`{"n":%d,"pad":"%s"}`, len(p.up)+1, strings.Repeat("u", s.Size))
			p.up = append(p.up, payload)
			p.client.push(payload, len(p.up)%3 == 0)
		}
	case stepDown:
		for range s.N {
			p.down++
			if _, err := p.app.say(p.down); err != nil {
				p.client.wrong("Send: %w", err)
			}
		}
	case stepAttach:
		attach(s.To, s.Fate, s.Hold)
	case stepCut:
		p.client.cut()
	case stepMute:
		if cr := p.client.present(); cr != nil {
			cr.plug.mute()
		}
	case stepBeat:
		p.client.beat()
	}
}

// settle waits until everything has arrived, opening connections where there are none.
func (p *play) settle(attach func(string, fault, time.Duration)) error {
	const enough, quiet, look = 90 * time.Second, 20 * time.Second, 500 * time.Millisecond
	start := time.Now()
	// What comes twice may come late, and a heartbeat tells the client that all
	// is there: so it goes on for a while after that.
	for since := start; time.Since(since) < quiet && time.Since(start) < enough; time.Sleep(look) {
		if p.client.idle() {
			attach(transport.WebSocket, fault{}, 0)
			since = time.Now()
		}
		if !p.drained() {
			since = time.Now()
		}
	}
	c, a := p.client, p.app
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.fault != nil:
		return c.fault
	case !slices.Equal(a.heard(), p.up):
		return fmt.Errorf("the server heard %s", difference(a.heard(), p.up))
	case !slices.Equal(c.log, a.said()):
		return fmt.Errorf("the client heard %s", difference(c.log, a.said()))
	case len(c.frames) > 0 && c.line != nil:
		return fmt.Errorf("the client still keeps %d frames, and nobody has told it that they have arrived", len(c.frames))
	case len(a.closed) > 0:
		return fmt.Errorf("the client socket was closed: %s", (<-a.closed).why)
	}
	return nil
}

func (p *play) drained() bool {
	p.client.mu.Lock()
	defer p.client.mu.Unlock()
	return p.client.fault != nil || len(p.app.heard()) >= len(p.up) && len(p.client.log) >= len(p.app.said())
}

// ending checks that the client socket has ended, once, after its client has left.
func (p *play) ending() error {
	switch {
	case len(p.app.closed) == 0:
		return errors.New("after the goodbye the client socket is still there")
	case len(p.app.closed) > 1:
		return errors.New("Closed was called twice")
	case p.hall.server.Len() > 0:
		return fmt.Errorf("after the goodbye Len is %d", p.hall.server.Len())
	}
	if why := (<-p.app.closed).why; why != transport.Closed {
		return fmt.Errorf("after the goodbye: Closed(%s), want Closed(%s)", why, transport.Closed)
	}
	// An attach that was on its way when another was promoted comes with a
	// secret that is good no more. Nothing ever happens on what it gets.
	for len(p.hall.apps) > 0 {
		if other := <-p.hall.apps; len(other.heard()) > 0 || len(other.closed) != 1 {
			return fmt.Errorf("there is another client socket: it heard %q and was closed %d times", other.heard(), len(other.closed))
		}
	}
	return nil
}

// difference says where got departs from want.
func difference(got, want []string) string {
	i := 0
	for i < min(len(got), len(want)) && got[i] == want[i] {
		i++
	}
	at := func(list []string) string {
		if i < len(list) {
			return list[i]
		}
		return "nothing"
	}
	return fmt.Sprintf("%d frames, want %d; number %d is %.80s, want %.80s", len(got), len(want), i+1, at(got), at(want))
}

// To play one again: -rapid.seed or -rapid.failfile, as the failure says.
func TestWhateverBecomesOfItsConnectionsAllArrivesOnceAndInOrder(t *testing.T) {
	t.Parallel()
	if play := flag.Lookup("rapid.checks"); play.Value.String() == play.DefValue {
		t.Cleanup(func() { _ = play.Value.Set(play.DefValue) })
		_ = play.Value.Set(strconv.Itoa(need.Rounds(1000, 10_000)))
	}
	rapid.Check(t, func(t *rapid.T) {
		s := schedules.Draw(t, "schedule")
		rapid.SyncTest(t, func(t *rapid.T) {
			if err := s.run(flawless); err != nil {
				t.Fatal(err)
			}
		})
	})
}

// The property would be worth nothing if it let a wrong client pass.
func TestThePropertyFindsAWrongClient(t *testing.T) {
	for f := flawless + 1; f < flaws; f++ {
		t.Run(fmt.Sprint(f), func(t *testing.T) {
			const enough = 300
			for seed := range enough {
				s := schedules.Example(seed)
				var err error
				synctest.Test(t, func(*testing.T) { err = s.run(f) })
				if err != nil {
					t.Logf("schedule %d: %v", seed, err)
					return
				}
			}
			t.Errorf("%d schedules, and the flaw has not shown", enough)
		})
	}
}

// A fixed conversation is cut at every byte, of each direction, on each
// transport, and again on the connection that it goes on with. So are four POSTs
// of its client, which sends them again, both on such a connection and on a
// whole one: a stream that is cut early is not there for a POST.
func TestAConversationCutAtAnyByteGoesOn(t *testing.T) {
	stride := need.Rounds(23, 1)
	first := 1 + int(need.Seed(t)%uint64(stride))
	for _, from := range everyTransport {
		for _, to := range everyTransport {
			stride := stride
			if stride == 1 && (from == transport.LongPoll || to == transport.LongPoll) {
				stride = 7 // each poll has a head and is answered with one
			}
			for _, up := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s-%s-up=%v", from, to, up), func(t *testing.T) {
					t.Parallel()
					all := []int{cutFirst, cutNext, cutPosts}
					whole := cutConversation(t, from, to, up, 0, all...)
					if (from != transport.WebSocket || to != transport.WebSocket) && whole[cutPosts].carried(up) == 0 {
						t.Fatal("no POST was sent through a cut")
					}
					var was [cutParts]map[int]bool
					for part := range was {
						was[part] = map[int]bool{}
					}
					for at, some := first, true; some; at += stride { // until nothing has so many bytes
						some = false
						for _, parts := range [][]int{all, {cutPosts}} {
							for part, m := range cutConversation(t, from, to, up, at, parts...) {
								was[part][at] = was[part][at] || m.cut
								some = some || m.cut
							}
							if to == transport.WebSocket { // a POST is on the first connection, if any
								break
							}
						}
					}
					// From play to play it differs how many frames share a chunk, a reply or a
					// POST.
					give := 100
					if from == transport.LongPoll || to == transport.LongPoll {
						give = 1000 // what a few replies and polls have
					}
					for part, m := range whole {
						for at := first; at <= m.carried(up)-give; at += stride {
							if !was[part][at] {
								t.Fatalf("%s carries %d bytes, and was not cut at byte %d", partNames[part], m.carried(up), at)
							}
						}
					}
				})
			}
		}
	}
}

// What is cut of a conversation.
const (
	cutFirst = iota // the connection it begins on
	cutNext         // the one it goes on with
	cutPosts
	cutParts
)

var partNames = [cutParts]string{"the first connection", "the next connection", "a POST"}

// cutConversation plays the conversation. Some parts of it break when so many
// bytes have got through one way, 0 for never.
func cutConversation(t *testing.T, from, to string, up bool, at int, parts ...int) (marks [cutParts]*mark) {
	t.Helper()
	var cuts [cutParts]fault
	for part := range cuts {
		marks[part] = &mark{}
		cuts[part].mark = marks[part]
		switch {
		case !slices.Contains(parts, part):
		case up:
			cuts[part].Up = at
		default:
			cuts[part].Down = at
		}
	}
	talk := []step{{Do: stepUp, N: 3}, {Do: stepDown, N: 3}, {Wait: time.Millisecond, Do: stepUp, N: 1}, {Do: stepBeat}}
	s := schedule{First: from, AckEvery: 2, Fate: cuts[cutFirst], Posts: slices.Repeat([]postFate{{Fault: cuts[cutPosts]}}, 4), Steps: slices.Concat(
		talk, []step{{Wait: time.Second, Do: stepAttach, To: to, Fate: cuts[cutNext]}, {Wait: time.Second, Do: stepBeat}},
		talk, []step{{Wait: time.Second, Do: stepAttach, To: from}, {Wait: time.Second, Do: stepBeat}},
	)}
	var err error
	synctest.Test(t, func(*testing.T) { err = s.run(flawless) })
	if err != nil {
		t.Fatalf("cut at byte %d: %v", at, err)
	}
	return marks
}
