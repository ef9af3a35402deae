package redis

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/redistest"
	"github.com/go-chime/chime/store"
)

// TestWhatWasAcknowledgedSurvivesAKill kills Redis again and again while many publish.
func TestWhatWasAcknowledgedSurvivesAKill(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		t.Parallel()
		e := program.Start(t)
		b, w := began(t, e.URL(), Options{GiveUp: patience, pace: 200 * time.Millisecond}, "a")
		if got := b.Caps(); got.Survives != broker.SurvivesKill|broker.SurvivesPower {
			t.Errorf("with appendfsync always messages survive %v, want %v", got.Survives, broker.SurvivesKill|broker.SurvivesPower)
		}
		const publishers, kills = 4, 3
		var acknowledged sync.Map
		var n atomic.Int64
		var wg sync.WaitGroup
		done := make(chan struct{})
		for range publishers {
			wg.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
					}
					text := fmt.Sprint(n.Add(1))
					at, err := b.Publish(t.Context(), say("a", text), everything)
					if err != nil {
						t.Errorf("publish: %v", err)
						return
					}
					acknowledged.Store(text, at.Offset)
				}
			})
		}
		for range kills {
			before := n.Load()
			redistest.Eventually(t, "fifty more are published", func() bool { return n.Load() >= before+50 })
			e.Kill(t)
			e.Begin(t)
		}
		close(done)
		wg.Wait()
		w.until(t, "the node is told that it may have missed something", func() bool { return w.missed["a"] > 0 })
		page := read(t, b, "a", store.Range{})
		seen := map[string]uint64{}
		prev := uint64(0)
		for _, m := range page.Messages {
			if seen[string(m.Payload)] != 0 {
				t.Errorf("%q is there twice", m.Payload)
			}
			if m.Prev != prev {
				t.Errorf("%d follows %d, want %d", m.Offset, m.Prev, prev)
			}
			seen[string(m.Payload)], prev = m.Offset, m.Offset
		}
		if !page.Complete || len(seen) != int(n.Load()) {
			t.Errorf("got %d messages, complete %t, want %d", len(seen), page.Complete, n.Load())
		}
		acknowledged.Range(func(text, offset any) bool {
			if seen[text.(string)] != offset {
				t.Errorf("%v was acknowledged at %d, and is at %d", text, offset, seen[text.(string)])
			}
			return true
		})
		for heard := false; !heard; { // or it is told that it may have missed that, too
			w.mu.Lock()
			missed := w.missed["a"]
			w.mu.Unlock()
			last := publish(t, b, "a", "last")
			w.until(t, "announcements go on", func() bool {
				list := w.announced["a"]
				heard = len(list) > 0 && list[len(list)-1].Offset == last
				return heard || w.missed["a"] > missed
			})
		}
	})
}

// An engine that is emptied while nodes use it begins anew, and everybody is told.
func TestAnEngineThatIsEmptiedIsAnotherEpoch(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		t.Parallel()
		e := program.Start(t)
		b, w := began(t, e.URL(), Options{pace: 100 * time.Millisecond}, "a", "b")
		epoch := b.History().Epoch()
		first := publish(t, b, "a", "1")
		w.wait(t, "a", 1)
		e.Must(t, "FLUSHALL")
		w.until(t, "all topics are told", func() bool { return w.missed["a"] > 0 && w.missed["b"] > 0 })
		if now := b.History().Epoch(); now == epoch {
			t.Errorf("the epoch is still %q", now)
		}
		second := publish(t, b, "a", "2")
		if second <= first {
			t.Errorf("offset %d was given after %d", second, first)
		}
		if page := read(t, b, "a", store.Range{After: first}); page.Complete || page.Top != second {
			t.Errorf("after what was deleted: complete %t up to %d, want not complete, up to %d", page.Complete, page.Top, second)
		}
		other, _ := began(t, e.URL(), Options{Prefix: b.names.prefix})
		if got, want := other.History().Epoch(), b.History().Epoch(); got != want {
			t.Errorf("epoch of another node: %q, want %q", got, want)
		}
	})
}

// A replica that lagged takes over: what it has not had is gone, and whoever has seen it is
// told that there is a gap.
func TestWhatAFailOverHasLostMakesAGap(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		t.Parallel()
		master := program.Start(t)
		replica := master.Replica(t)
		b, _ := began(t, master.URL(), Options{}, "a")
		replica.Synced(t, master)
		for waits, want := range []broker.Survival{broker.SurvivesNothing, broker.SurvivesKill | broker.SurvivesNode | broker.SurvivesPower} {
			if got := open(t, master.URL(), Options{WaitReplicas: waits}).Caps().Survives; got != want {
				t.Errorf("with a replica messages survive %v, if publishers wait for %d of them, want %v", got, waits, want)
			}
		}
		first := publish(t, b, "a", "1")
		replica.Synced(t, master)
		replica.Must(t, "REPLICAOF", "NO", "ONE") // it hears no more
		missing := publish(t, b, "a", "lost")

		after, _ := began(t, replica.URL(), Options{Prefix: b.names.prefix})
		if got, want := after.History().Epoch(), b.History().Epoch(); got != want {
			t.Fatalf("epoch: got %q, want %q", got, want)
		}
		if page := read(t, after, "a", store.Range{After: missing}); page.Complete || page.Top != first {
			t.Errorf("behind what was lost: complete %t, top %d, want not, and %d", page.Complete, page.Top, first)
		}
		next := publish(t, after, "a", "2")
		if next <= missing {
			t.Errorf("offset %d was given after %d", next, missing)
		}
		if page := read(t, after, "a", store.Range{After: missing}); page.Complete {
			t.Errorf("behind what was lost: got %q and complete", texts(page))
		}
		if page := read(t, after, "a", store.Range{After: first}); !page.Complete || texts(page) != "2\n" {
			t.Errorf("behind what was kept: got %q, complete %t", texts(page), page.Complete)
		}
		if tops, err := after.History().(broker.Tops).Tops(t.Context(), []string{"a", "never"}); err != nil || tops[0].Offset != next || tops[1].Offset != 0 {
			t.Errorf("tops: got %v, %v, want %d and none", tops, err, next)
		}
	})
}

// A clock that was ahead, and is not any more, gives no offset twice.
func TestAClockThatIsBehind(t *testing.T) {
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		e := program.Start(t)
		b, w := began(t, e.URL(), Options{}, "a")
		first := publish(t, b, "a", "1")
		ahead := first + uint64(10*time.Minute/time.Microsecond)
		e.Must(t, "HSET", b.names.keys("a")[1], "top", fmt.Sprint(ahead))
		last := ahead
		for i := range 50 {
			at := publish(t, b, "a", fmt.Sprint(i))
			if at <= last || at > last+maxStep {
				t.Fatalf("offset %d follows %d, want at most %d more", at, last, maxStep)
			}
			last = at
		}
		list := w.wait(t, "a", 51)
		if list[1].Prev != ahead {
			t.Errorf("the first is behind %d, want %d", list[1].Prev, ahead)
		}
		if page := read(t, b, "a", store.Range{After: ahead}); !page.Complete || len(page.Messages) != 50 {
			t.Errorf("got %d, complete %t, want 50", len(page.Messages), page.Complete)
		}
	})
}

// Publishers wait while a master is read-only, as in a fail-over.
func TestPublishersWaitForAMaster(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		t.Parallel()
		master := program.Start(t)
		e := master.Replica(t)
		e.Must(t, "REPLICAOF", "NO", "ONE")
		b, _ := began(t, e.URL(), Options{GiveUp: patience})
		e.Must(t, "REPLICAOF", master.Host, master.Port)
		e.Synced(t, master)
		published := make(chan error, 1)
		go func() {
			_, err := b.Publish(t.Context(), say("a", "1"), everything)
			published <- err
		}()
		for n := 0; !strings.Contains(e.Must(t, "INFO", "errorstats"), "READONLY"); n++ {
			pause(t.Context(), n)
		}
		select {
		case err := <-published:
			t.Fatalf("it was published on a replica: %v", err)
		default:
		}
		e.Must(t, "REPLICAOF", "NO", "ONE")
		if err := <-published; err != nil {
			t.Error(err)
		}
	})
}

// Publishers who wait for replicas know when none has what they said.
func TestPublishersWaitForReplicas(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		t.Parallel()
		master := program.Start(t)
		replica := master.Replica(t)
		replica.Synced(t, master)
		b, w := began(t, master.URL(), Options{WaitReplicas: 1, GiveUp: 2 * time.Second}, "a")
		publish(t, b, "a", "1")
		w.wait(t, "a", 1)
		replica.Kill(t)
		if err := second(b.Publish(t.Context(), say("a", "2"), everything)); !errors.Is(err, broker.ErrUncertain) || !errors.Is(err, errReplicas) {
			t.Errorf("without a replica: got %v, want %v", err, errReplicas)
		}
		if page := read(t, b, "a", store.Range{}); texts(page) != "1\n2\n" {
			t.Errorf("got %q, want both: the master has the second", texts(page))
		}
		p := say("a", "3")
		p.Erases = 1
		if err := second(b.Publish(t.Context(), p, everything)); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("what is refused waits for nobody: got %v, want %v", err, store.ErrNotFound)
		}
	})
}
