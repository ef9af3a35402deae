package fanout

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/broker"
)

// unread is a world of a topic in which a few messages are retained, with a member that has joined
// while nothing of them could be read. More reads fail.
func unread(t *testing.T, sure bool) (*world, *fakeOwner, *fakeQueue) {
	t.Helper()
	w := newWorld(100)
	w.sure = sure
	w.topic = w.open("a")
	w.retains(t, 3)
	w.fail(1000)
	q, p := w.client(100)
	m := newOwner(w.topic, p, "1")
	if err := m.join(Want{Last: 10}); err == nil || !m.start.Unread || m.start.Offset != 0 {
		t.Fatalf("its join began at %+v, error %v, want one that could not read the history", m.start, err)
	}
	return w, m, q
}

// fail has so many reads fail from now on.
func (w *world) fail(reads int) {
	w.history.mu.Lock()
	defer w.history.mu.Unlock()
	w.history.fails = reads
}

// A member that has joined while the history could not be read may have missed what was said since then,
// and nobody could know, if what is heard first were the beginning.
func TestWhoHasJoinedWithoutTheHistoryMissesNothingInSilence(t *testing.T) {
	for name, then := range map[string]func(*testing.T, *world, broker.Publication){
		"what is heard first is not what was said first": func(t *testing.T, w *world, _ broker.Publication) {
			w.publish(t, 1)
		},
		"what is heard first is late": func(t *testing.T, w *world, first broker.Publication) {
			late := w.retain(t)
			w.publish(t, 1)
			w.topic.Published(late)
			w.topic.Published(first)
		},
		"nothing is heard, and the history answers again": func(_ *testing.T, w *world, _ broker.Publication) {
			w.fail(0)
			time.Sleep(retries[len(retries)-1])
		},
		"it answers after a long time": func(_ *testing.T, w *world, _ broker.Publication) {
			time.Sleep(time.Hour)
			w.fail(0)
			time.Sleep(retries[len(retries)-1])
		},
		"the broker says that something is lost": func(_ *testing.T, w *world, _ broker.Publication) {
			w.topic.Lost()
			w.fail(0)
			time.Sleep(retries[len(retries)-1])
		},
		"another join reads it": func(t *testing.T, w *world, _ broker.Publication) {
			w.fail(0)
			w.join(t, 100, Want{Last: 1})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, m, q := unread(t, false)
				defer w.topic.Close()
				w.topic.Published(ephemeral(1))
				first := w.retain(t)
				then(t, w, first)
				synctest.Wait()
				if got := m.failed(); len(got) != 1 || !errors.Is(got[0], ErrUnread) {
					t.Errorf("it failed with %v, want %v", got, ErrUnread)
				}
				if got := q.offsets(); len(got) > 0 {
					t.Errorf("it was sent %d, want nothing: its position would be behind what it has missed", got)
				}
				if len(q.seen) != 1 {
					t.Errorf("it was sent %d messages, want the ephemeral one", len(q.seen))
				}
				w.fail(0)
				m.leave()
				q, again := w.join(t, 100, Want{Since: &m.start.Position})
				synctest.Wait()
				if got := q.offsets(); !again.start.Recovered || len(got) < 4 || got[3] != first.Offset {
					t.Errorf("when it came back it was sent %d, recovered: %t, want all, and that", got, again.start.Recovered)
				}
			})
		})
	}
}

// A broker of one process announces everything, in order.
func TestWhereAllIsAnnouncedWhoHasJoinedWithoutTheHistoryGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m, q := unread(t, true)
		reads := w.history.reads
		w.publish(t, 2)
		time.Sleep(time.Minute)
		if got := q.offsets(); !slices.Equal(got, []uint64{4, 5}) || len(m.failed()) > 0 {
			t.Errorf("it was sent %d and failed with %v, want 4 and 5", got, m.failed())
		}
		if n := w.history.reads - reads; n > 0 {
			t.Errorf("the history was read %d times after the join, want none", n)
		}
	})
}

// A message is in the history before it is announced. Whoever reads it there first must not have it
// be old for a member that has not read anything.
func TestWhatIsReadBeforeItIsAnnouncedIsNotMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m, q := unread(t, true)
		said := w.retain(t)
		w.fail(0)
		other, _ := w.join(t, 100, Want{Last: 1})
		w.topic.Published(said)
		synctest.Wait()
		if got := m.failed(); len(got) != 1 || !errors.Is(got[0], ErrUnread) || len(q.offsets()) > 0 {
			t.Errorf("it failed with %v and was sent %d, want %v and nothing", got, q.offsets(), ErrUnread)
		}
		if got := other.offsets(); !slices.Equal(got, []uint64{said.Offset}) {
			t.Errorf("who has read it was sent %d, want %d", got, said.Offset)
		}
	})
}
