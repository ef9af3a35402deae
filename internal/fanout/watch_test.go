package fanout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/store"
)

// manyTops is a history that looks at many topics at one time.
type manyTops struct {
	*fakeHistory
	looks []int // topics of each call
	fails int
	gate  chan struct{} // each call waits for it; nil: for nothing
	end   *uint64       // where each topic ends; nil: where it does
	hangs bool
}

func (h *manyTops) ends(at *uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.end = at
}

func (h *manyTops) hang(does bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hangs = does
}

func (h *manyTops) Tops(ctx context.Context, topics []string) ([]store.Position, error) {
	h.mu.Lock()
	h.looks = append(h.looks, len(topics))
	gate, fails, end, hangs := h.gate, h.fails > 0, h.end, h.hangs
	if fails {
		h.fails--
	}
	h.mu.Unlock()
	if gate != nil {
		<-gate
	}
	if hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if fails {
		return nil, errors.New("disk on fire")
	}
	var list []store.Position
	for _, topic := range topics {
		page, err := h.now().Read(ctx, topic, topAlone)
		if err != nil {
			return nil, err
		}
		if end != nil {
			page.Top = *end
		}
		list = append(list, store.Position{Epoch: page.Epoch, Offset: page.Top})
	}
	return list, nil
}

var _ broker.Tops = (*manyTops)(nil)

// lookedAt is a world whose history can do that, with members in so many topics.
func lookedAt(t *testing.T, topics int) (*world, *manyTops, []*Topic, []*fakeQueue) {
	w := newWorld(100)
	h := &manyTops{fakeHistory: w.history}
	w.checks = NewChecks(context.Background(), h, &w.tasks)
	var list []*Topic
	var queues []*fakeQueue
	for i := range topics {
		topic := New(fmt.Sprint(i), Config{History: h, Keep: 100, Replay: 10, Budget: w.budget, Checks: w.checks, Tasks: &w.tasks, Found: &w.stats.Found})
		if _, err := w.history.store.Append(t.Context(), topic.name, store.Message{Payload: []byte("{}")}, w.keep, nil); err != nil {
			t.Fatal(err)
		}
		q, p := w.client(100)
		if err := newOwner(topic, p, "1").join(Want{Last: 1}); err != nil {
			t.Fatal(err)
		}
		list, queues = append(list, topic), append(queues, q)
	}
	synctest.Wait()
	w.history.reads = 0
	return w, h, list, queues
}

// loseOne retains a message in each topic that is not announced.
func (w *world) loseOne(t *testing.T, topics []*Topic) {
	for _, topic := range topics {
		if _, err := w.history.store.Append(t.Context(), topic.name, store.Message{Payload: []byte("{}")}, w.keep, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// watch has topics watched until end is called.
func (w *world) watch(h *manyTops, topics []*Topic) (end func()) {
	var over atomic.Bool
	NewWatch(context.Background(), h, func() []*Topic {
		if over.Load() {
			return nil
		}
		return topics
	}, &w.tasks).Arm()
	return func() {
		over.Store(true)
		time.Sleep(2 * watchEvery)
	}
}

// announce publishes one message in a topic.
func (w *world) announce(t *testing.T, topic *Topic) {
	m := store.Message{Payload: []byte("{}"), At: time.Now()}
	at, err := w.history.store.Append(t.Context(), topic.name, m, w.keep, nil)
	if err != nil {
		t.Fatal(err)
	}
	m.Offset, m.Prev = at, at-1
	topic.Published(broker.Publication{Topic: topic.name, Epoch: w.history.Epoch(), Message: m})
}

// A connection that was lost may have lost the announcements of all topics.
func TestWhatAllTopicsHaveLostIsLookedForInLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 1000
		w, h, topics, queues := lookedAt(t, n)
		w.loseOne(t, topics[:n/2])
		gate := make(chan struct{}) // until all are lost: else it depends on who runs
		h.gate = gate
		for _, topic := range topics {
			topic.Lost()
		}
		synctest.Wait()
		close(gate)
		synctest.Wait()
		if looks := len(h.looks); looks > 2*maxChecks || w.history.reads != n/2 {
			t.Errorf("%d looks at lists of %v and %d reads, want a few looks, and a read for each topic that has lost something", looks, h.looks, w.history.reads)
		}
		for i, q := range queues {
			want := 1
			if i < n/2 {
				want = 2
			}
			if got := len(q.offsets()); got != want {
				t.Fatalf("the member of topic %d was sent %d messages, want %d", i, got, want)
			}
		}
	})
}

func TestAListThatCantBeLookedAtIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, h, topics, queues := lookedAt(t, 3)
		w.loseOne(t, topics)
		h.fails = 1
		for _, topic := range topics {
			topic.Lost()
		}
		time.Sleep(retrying())
		synctest.Wait()
		for _, q := range queues {
			if got := len(q.offsets()); got != 2 {
				t.Errorf("got %d messages, want 2", got)
			}
		}
	})
}

// What is suspected while a list is looked at is looked at again.
func TestWhatIsSuspectedDuringALookIsLookedAtAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, h, topics, queues := lookedAt(t, 2)
		h.gate = make(chan struct{})
		topics[0].Lost()
		topics[1].Lost()
		synctest.Wait()
		gate := h.gate
		h.mu.Lock()
		h.gate = nil
		h.mu.Unlock()
		w.loseOne(t, topics[:1])
		topics[0].Lost()
		close(gate)
		synctest.Wait()
		if got := queues[0].offsets(); len(got) != 2 {
			t.Errorf("got %v, want what was lost during the look, too", got)
		}
	})
}

// A history that ends before what was announced has lost something in a fail-over: its
// members are told, since what comes next may have the offsets of what they have had.
func TestAHistoryThatWentBackIsAnotherOne(t *testing.T) {
	for name, c := range map[string]struct {
		age    time.Duration
		said   time.Duration // before it went back
		to     uint64
		again  time.Duration // until it is where it was; 0: never
		erased bool
		fails  bool
	}{
		"it ends where it did":                {to: 2},
		"its end is lost":                     {to: 1, fails: true},
		"long ago, and its end is lost":       {to: 1, said: time.Hour, fails: true},
		"all is lost":                         {fails: true},
		"all is lost, and would be old later": {age: time.Minute, said: 10 * time.Second, fails: true},
		"all has aged":                        {age: time.Minute, said: time.Minute},
		"all has aged by the engine's age":    {said: recent},
		"all was erased":                      {erased: true},
		"a replica is behind":                 {to: 1, again: settle / 2},
		"a replica knows nothing yet":         {again: settle / 2},
	} {
		for _, by := range []string{"lost", "watch"} { // the broker says so, or nobody does
			t.Run(name+" "+by, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w, h, topics, _ := lookedAt(t, 1)
					topic := topics[0]
					topic.feed.tail.age = c.age
					w.announce(t, topic) // at 2
					_, p := w.client(100)
					m := newOwner(topic, p, "1")
					if err := m.join(Want{Last: 2}); err != nil {
						t.Fatal(err)
					}
					if c.erased {
						topic.Erased(store.Position{Epoch: w.history.Epoch()})
					}
					time.Sleep(c.said)
					h.ends(&c.to)
					if by == "lost" {
						topic.Lost()
						if c.again > 0 {
							time.AfterFunc(c.again, func() { h.ends(nil) })
						}
					} else {
						defer w.watch(h, topics)()
						if c.again > 0 {
							time.AfterFunc(watchEvery+c.again, func() { h.ends(nil) })
						}
						time.Sleep(watchEvery)
					}
					time.Sleep(settle + time.Millisecond)
					synctest.Wait()
					if got := m.failed(); len(got) > 0 != c.fails || c.fails && !errors.Is(got[0], ErrGap) {
						t.Errorf("failed with %v, want %v: %t", got, ErrGap, c.fails)
					}
				})
			})
		}
	}
}

// A look has an end though the broker hangs, and so do those that wait for it.
func TestALookHasAnEndThoughTheBrokerHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, h, topics, queues := lookedAt(t, 1)
		w.loseOne(t, topics)
		h.hang(true)
		topics[0].Lost()
		time.Sleep(lookFor / 2)
		h.hang(false) // for who asks from now on
		time.Sleep(lookFor/2 + retries[0])
		synctest.Wait()
		if got := queues[0].offsets(); len(got) != 2 {
			t.Errorf("got %v, want what was lost", got)
		}
	})
}

// One part of an engine that fails does not keep the others from being watched.
func TestAListThatFailsEndsNoRoundOfTheWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, h, topics, queues := lookedAt(t, maxTops+1)
		defer w.watch(h, topics)()
		w.loseOne(t, topics[maxTops:])
		h.mu.Lock()
		h.fails = 1
		h.mu.Unlock()
		time.Sleep(watchEvery)
		synctest.Wait()
		if got := queues[maxTops].offsets(); len(got) != 2 {
			t.Errorf("got %v, want what nobody has announced", got)
		}
	})
}

func TestTheWatchFindsWhatNobodySays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, h, topics, queues := lookedAt(t, 3)
		watched := append(topics, New("x", Config{Tasks: &w.tasks})) // nothing is retained in that
		var none atomic.Bool
		watch := NewWatch(context.Background(), h, func() []*Topic {
			if none.Load() {
				return nil
			}
			return watched
		}, &w.tasks)
		watch.Arm()
		watch.Arm()
		w.loseOne(t, topics[:1])
		time.Sleep(watchEvery)
		synctest.Wait()
		if got := queues[0].offsets(); len(got) != 2 {
			t.Errorf("got %v, want what nobody has announced", got)
		}
		if !slices.Equal(h.looks, []int{3, 1}) {
			t.Errorf("looked at %v topics, want 3 once, and at the one again", h.looks)
		}
		h.mu.Lock()
		h.fails = 1
		h.mu.Unlock()
		time.Sleep(watchEvery)
		w.loseOne(t, topics[1:2])
		time.Sleep(watchEvery)
		synctest.Wait()
		if got := queues[1].offsets(); len(got) != 2 {
			t.Errorf("got %v, want what nobody has announced, though a look has failed", got)
		}
		none.Store(true)
		looks := len(h.looks)
		time.Sleep(10 * watchEvery)
		synctest.Wait()
		if len(h.looks) != looks {
			t.Errorf("%d looks at no topic", len(h.looks)-looks)
		}
	})
	if NewWatch(context.Background(), newHistory(), nil, nil) != nil {
		t.Error("a history that can't look at many topics is watched")
	}
}

// What the broker has said is not found by anybody.
func TestWhatNobodyHasToldOfIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, h, topics, _ := lookedAt(t, 3)
		defer w.watch(h, topics)()
		count := func(what string, messages, looks float64) {
			t.Helper()
			synctest.Wait()
			fs := w.stats.Families(stats.Moment{})
			if m, l := fs.Value("chime_broker_found_total", "message"), fs.Value("chime_broker_found_total", "look"); m != messages || l != looks {
				t.Errorf("%s: found %v by a message and %v by a look, want %v and %v", what, m, l, messages, looks)
			}
		}
		w.loseOne(t, topics[:1])
		topics[0].Lost()
		count("the broker has said it", 0, 0)
		time.Sleep(watchEvery)
		count("nothing is missing", 0, 0)
		w.loseOne(t, topics[:2])
		time.Sleep(watchEvery)
		count("two topics", 0, 2)
		w.loseOne(t, topics[2:])
		w.announce(t, topics[2])
		count("the next message", 1, 2)
	})
}

// Who opens the first topic while the last look finds none has found the watch armed.
func TestATopicThatComesDuringALookIsWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, h, topics, queues := lookedAt(t, 1)
		var watch *Watch
		var calls atomic.Int32
		watch = NewWatch(context.Background(), h, func() []*Topic {
			switch calls.Add(1) {
			case 1:
				watch.Arm()
				return nil
			case 2, 3:
				return topics
			}
			return nil // the end
		}, &w.tasks)
		watch.Arm()
		time.Sleep(watchEvery)
		w.loseOne(t, topics)
		time.Sleep(watchEvery)
		synctest.Wait()
		if got := queues[0].offsets(); len(got) != 2 {
			t.Errorf("got %v, want what nobody has announced", got)
		}
		time.Sleep(2 * watchEvery)
	})
}
