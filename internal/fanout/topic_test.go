package fanout

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

// publish retains n messages and announces them.
func (w *world) publish(t *testing.T, n int) {
	t.Helper()
	for range n {
		w.topic.Published(w.retain(t))
	}
}

// retain is a publication that is yet to be announced.
func (w *world) retain(t *testing.T) (p broker.Publication) {
	t.Helper()
	s := w.history.now()
	_, err := s.Append(t.Context(), "a", store.Message{Event: "e", Payload: []byte("{}")}, w.keep, func(m store.Message) {
		p = broker.Publication{Message: m, Epoch: s.Epoch(), Topic: "a"}
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// retains has the history of so many messages that nobody has announced.
func (w *world) retains(t *testing.T, n int) {
	t.Helper()
	for range n {
		w.retain(t)
	}
}

// join is a client that has joined, whose queue takes so many messages.
func (w *world) join(t *testing.T, most int, want Want) (*fakeQueue, *fakeOwner) {
	t.Helper()
	q, p := w.client(most)
	m := newOwner(w.topic, p, "1")
	if err := m.join(want); err != nil {
		t.Fatal(err)
	}
	return q, m
}

func ephemeral(n int) broker.Publication {
	return broker.Publication{Topic: "a", Message: store.Message{Event: fmt.Sprint("ephemeral-", n), Payload: []byte("{}")}}
}

func TestAReadThatEndsAfterTheCloseLeavesNothingInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(100)
		w.retains(t, 5)
		_, p := w.client(100)
		m := newOwner(w.topic, p, "1")
		w.history.shut(&w.history.after)
		go func() { _ = m.join(Want{Last: 5}) }()
		synctest.Wait()
		m.leave()
		w.topic.Close()
		w.history.open(&w.history.after)
		synctest.Wait()
		if n := w.budget.Bytes(); n != 0 {
			t.Errorf("a topic that was closed takes %d bytes of the budget, want 0", n)
		}
	})
}

func TestNothingIsSentAfterALeaveDuringTheJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(100)
		w.retains(t, 5)
		q, p := w.client(100)
		m := newOwner(w.topic, p, "1")
		stays := newOwner(w.topic, p, "2")
		w.history.shut(&w.history.before)
		go func() { _ = m.join(Want{Last: 5}) }()
		go func() { _ = stays.join(Want{}) }()
		synctest.Wait()
		w.topic.Leave(&m.Member)
		w.history.open(&w.history.before)
		synctest.Wait()
		w.topic.Leave(&m.Member)
		w.publish(t, 1)
		synctest.Wait()
		if m.start == nil {
			t.Error("its join was not replied to")
		}
		for _, it := range q.seen {
			if it.to == "1" {
				t.Errorf("it was sent %d after it had left", it.m.Offset)
			}
		}
		if got := q.offsets(); !slices.Equal(got, []uint64{6}) || w.topic.Len() != 1 {
			t.Errorf("the member that stays was sent %d and is one of %d, want 6 of 1", got, w.topic.Len())
		}
	})
}

// What waits is not promised, and must not end a client that reads.
func TestEphemeralMessagesThatWaitEndNoClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1000)
		q, m := w.join(t, 20, Want{})
		q.stick(true)
		w.publish(t, 15) // more than it takes
		for i := range 40 {
			w.topic.Published(ephemeral(i))
		}
		for range 100 {
			q.read(5)
			synctest.Wait()
		}
		if q.ended || m.state != live {
			t.Fatalf("the client has ended: %t; the state of the member is %d, want %d", q.ended, m.state, live)
		}
		var got, want []string
		for _, it := range q.seen {
			got = append(got, it.m.Event)
		}
		for i := range 55 {
			if i < 15 {
				want = append(want, "e")
			} else {
				want = append(want, fmt.Sprint("ephemeral-", i-15))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q\nwant %q", got, want)
		}
	})
}

func TestAMemberThatLeavesIsForgottenByItsPager(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(100)
		w.publish(t, 20)
		q, p := w.client(8)
		q.stick(true)
		for i := range 1000 {
			m := newOwner(w.topic, p, fmt.Sprint(i))
			if err := m.join(Want{Last: 20}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			m.leave()
		}
		if n := p.waiting(); n > 1 {
			t.Errorf("%d members that have left wait for a page, want 1 at most", n)
		}
	})
}

func TestATailMeetsOnlyPositionsOfItsEpoch(t *testing.T) {
	tl := &tail{keep: 100}
	position := func(epoch string, offset uint64) store.Position { return store.Position{Epoch: epoch, Offset: offset} }
	if tl.meets(position("e", 5)) || tl.meets(position("", 0)) {
		t.Error("a tail that knows nothing meets a position")
	}
	tl.announces(run(3, 5)...)
	for offset, want := range map[uint64]bool{1: false, 2: true, 5: true, 9: true} {
		if got := tl.meets(position("e", offset)); got != want {
			t.Errorf("what follows %d: got %t, want %t", offset, got, want)
		}
		if tl.meets(position("f", offset)) {
			t.Errorf("it meets %d of another epoch", offset)
		}
	}
}

// Another node may keep the history of a topic that this one does not: their
// applications are of different versions while they are deployed.
func TestATopicWithoutHistoryTakesWhatAnotherNodeRetains(t *testing.T) {
	w := newWorld(100)
	topic := New("a", Config{Budget: w.budget, Tasks: &w.tasks})
	q, p := w.client(100)
	m := newOwner(topic, p, "1")
	if err := m.join(Want{}); err != nil {
		t.Fatal(err)
	}
	first, _, third := w.retain(t), w.retain(t), w.retain(t)
	topic.Published(first)
	topic.Published(third)
	topic.Erased(store.Position{Epoch: first.Epoch, Offset: first.Offset})
	topic.Lost()
	third.Epoch = "another"
	topic.Published(third)
	if got := len(q.seen); got != 3 {
		t.Errorf("it was sent %d messages, want each of the 3 announced", got)
	}
}

// A look at the history that has begun before its epoch changed ends after
// another read has found the new one.
func TestALateLookDoesNotBringBackAnEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(100)
		w.publish(t, 3)
		q, p := w.client(100)
		w.history.shut(&w.history.after)
		w.topic.Lost()
		synctest.Wait() // it has read the old epoch
		old := w.history.after
		w.history.after = nil
		w.history.mu.Lock()
		w.history.store = store.NewMemory()
		w.history.mu.Unlock()
		w.retains(t, 3)
		m := newOwner(w.topic, p, "1")
		joined := make(chan error, 1)
		go func() { joined <- m.join(Want{Last: 10}) }()
		synctest.Wait()
		close(old)
		synctest.Wait()
		if err := <-joined; err != nil {
			t.Error(err)
		}
		if got, fails := q.offsets(), m.failed(); !slices.Equal(got, []uint64{1, 2, 3}) || len(fails) > 0 || w.topic.feed.tail.epoch != w.history.Epoch() {
			t.Errorf("sent %d and failed with %v, want %d and no failure", got, fails, []uint64{1, 2, 3})
		}
	})
}

// Messages are redacted faster than the history is read.
func TestAJoinEndsWhileMessagesAreErased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1000)
		w.retains(t, 500)
		q, p := w.client(2000)
		m := newOwner(w.topic, p, "1")
		joined := make(chan error, 1)
		w.history.shut(&w.history.after)
		go func() { joined <- m.join(Want{Last: 500}) }()
		var want []uint64
		for offset := uint64(1); offset <= 400; offset++ {
			synctest.Wait()
			if err := w.history.now().Redact(t.Context(), "a", offset); err != nil {
				t.Fatal(err)
			}
			w.topic.Erased(store.Position{Epoch: w.history.Epoch(), Offset: offset})
			w.history.open(&w.history.after)
			w.history.shut(&w.history.after)
		}
		w.history.open(&w.history.after)
		synctest.Wait()
		if err := <-joined; err != nil {
			t.Error(err)
		}
		for offset := uint64(401); offset <= 500; offset++ {
			want = append(want, offset)
		}
		if got := q.offsets(); slices.Contains(got, 1) || !slices.Equal(got[max(0, len(got)-100):], want) {
			t.Errorf("sent %d, want them to end with 401 to 500, without 1, which was erased while it was read", got)
		}
		if w.history.reads > 10 {
			t.Errorf("the history was read %d times for one join of 400 redactions, want 10 at most", w.history.reads)
		}
	})
}

// A message that is published and redacted while a page is read has pushed out the oldest of
// that page, though nothing in memory shows it.
func TestWhatARedactedMessageHasPushedOutIsNotSentFromMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(3)
		w.retains(t, 3)
		_, p := w.client(100)
		first := newOwner(w.topic, p, "1")
		w.history.shut(&w.history.after)
		go func() { _ = first.join(Want{Last: 3}) }()
		synctest.Wait()
		w.publish(t, 1)
		if err := w.history.now().Redact(t.Context(), "a", 4); err != nil {
			t.Fatal(err)
		}
		w.topic.Erased(store.Position{Epoch: w.history.Epoch(), Offset: 4})
		w.history.open(&w.history.after)
		synctest.Wait()
		q, _ := w.join(t, 100, Want{Last: 3})
		synctest.Wait()
		if got, want := q.offsets(), []uint64{2, 3}; !slices.Equal(got, want) {
			t.Errorf("a join of the newest 3 was sent %d, want %d", got, want)
		}
	})
}

// What has aged while a member was behind is not sent to it, though it is still in
// memory: it is told of a gap.
func TestWhatHasAgedIsNotSentFromMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1000)
		w.keep.Age = time.Minute
		w.topic = w.open("a")
		q, m := w.join(t, 20, Want{})
		q.stick(true)
		w.publish(t, 30)
		time.Sleep(time.Hour)
		q.stick(false)
		synctest.Wait()
		if n := len(q.seen); n > 10 {
			t.Errorf("it was sent %d messages, want at most the 10 that were queued before they aged", n)
		}
		if fails := m.failed(); len(fails) != 1 || !errors.Is(fails[0], ErrGap) {
			t.Errorf("it failed with %v, want %v", fails, ErrGap)
		}
		m.leave()
	})
}

// What was erased in a former epoch was another message.
func TestAnErasureOfAFormerEpochErasesNothing(t *testing.T) {
	for name, reads := range map[string]bool{"in memory": false, "in a page that is read meanwhile": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(100)
				q, p := w.client(100)
				m := newOwner(w.topic, p, "1")
				if reads {
					w.retains(t, 3)
					w.history.shut(&w.history.after)
				} else {
					w.publish(t, 3)
				}
				go func() { _ = m.join(Want{Last: 10}) }()
				synctest.Wait()
				w.topic.Erased(store.Position{Epoch: "former", Offset: 2})
				w.history.open(&w.history.after)
				synctest.Wait()
				later := newOwner(w.topic, p, "2")
				_ = later.join(Want{Last: 10})
				synctest.Wait()
				if got, want := q.offsets(), append([]uint64{1, 2, 3}, 1, 2, 3); !slices.Equal(got, want) {
					t.Errorf("two joins were sent %d, want %d", got, want)
				}
			})
		})
	}
}
