package fanout

import (
	"testing"
	"testing/synctest"
	"time"
)

// newRetainer is a hearer in whose topic messages are retained.
func newRetainer(t *testing.T) (*world, *hearer) {
	w := newWorld(100)
	h := &hearer{room: &Copies{Text: 100, Bytes: 1 << 20}}
	h.open(t, Config{History: w.history, Keep: 100, Budget: w.budget, Checks: w.checks, Tasks: &w.tasks, Copies: h.room})
	w.topic = h.topic
	return w, h
}

// A draft that has ended somewhere else is its message for those who are still sent that. The
// others, who were sent it or never will be, are told.
func TestTheEndOfACopyIsToldToThoseWhoAreNotSentItsMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, h := newRetainer(t)
		w.publish(t, 2)
		h.shown()
		epoch := w.history.Epoch()
		for _, c := range []struct {
			id   string
			at   Over
			says bool
		}{
			{"announced before", Over{Epoch: epoch, Offset: 1}, true},
			{"announced last", Over{Epoch: epoch, Offset: 2}, true},
			{"announced next", Over{Epoch: epoch, Offset: 3}, false},
			{"of another epoch", Over{Epoch: "former", Offset: 3}, true},
			{"not retained, and it did not come", Over{}, true},
		} {
			h.topic.Hear(begins(c.id, ""))
			h.wants(t, started(c.id))
			late, bob := w.join(t, 100, Want{}) // is shown the state
			h.topic.HearEnd(c.id, c.at)
			want := 1
			if c.says {
				h.wants(t, ended(c.id, "over"))
				want = 2
			} else {
				h.wants(t)
			}
			if got := len(late.seen); got != want {
				t.Errorf("%s: who came while it grew was sent %d messages, want %d", c.id, got, want)
			}
			bob.leave()
		}
	})
}

// A draft that is heard of while its topic is closed takes nothing, and nobody waits for its owner.
func TestAClosedTopicHearsOfNoDraft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, h := newRetainer(t)
		h.topic.Hear(begins("d1", "x"))
		h.topic.Close()
		h.topic.Hear(begins("d2", "x"))
		h.topic.HearEnd("d1", Over{Reason: "no good"})
		if n := h.room.used.Load(); n != 0 {
			t.Errorf("%d bytes are counted, want none", n)
		}
		h.wants(t, started("d1"), delta("d1", 1, "x"))
	})
}

// Another node is no further ahead of the connections than who publishes here.
func TestWhatIsHeardDoesNotRunAheadOfTheConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHearer(t, &Copies{Text: 10 * slice, Bytes: 1 << 30})
		h.topic.lead.round = func() <-chan struct{} { return make(chan struct{}) } // nothing is written
		for n, want := range []time.Duration{0, maxPause} {
			text := make([]byte, slice)
			for i := range text {
				text[i] = 'x'
			}
			began := time.Now()
			p := Piece{Draft: "d", At: n * slice, Text: quoted(string(text))}
			if n == 0 {
				p.Event, p.Payload = "e", []byte("{}")
			}
			h.topic.Hear(p)
			if got := time.Since(began); got != want {
				t.Errorf("piece %d: waited for %v, want %v", n, got, want)
			}
		}
	})
}
