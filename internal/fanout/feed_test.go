package fanout

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/store"
)

// A publisher waits for what is on its way, and for nothing else.
func TestAwaitWaitsForWhatIsOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(100)
		defer w.topic.Close()
		w.publish(t, 2)
		comes := w.retain(t)
		epoch := w.history.Epoch()
		for what, c := range map[string]struct {
			at   store.Position
			want time.Duration
		}{
			"announced before": {store.Position{Epoch: epoch, Offset: 1}, 0},
			"announced last":   {store.Position{Epoch: epoch, Offset: 2}, 0},
			"another epoch":    {store.Position{Epoch: "former", Offset: 3}, 0},
			"on its way":       {store.Position{Epoch: epoch, Offset: 3}, awaitFor / 2},
			"lost":             {store.Position{Epoch: epoch, Offset: 4}, awaitFor},
		} {
			go func() {
				began := time.Now()
				Await(t.Context(), w.topic, c.at)
				if got := time.Since(began); got != c.want {
					t.Errorf("%s: waited for %v, want %v", what, got, c.want)
				}
			}()
		}
		time.Sleep(awaitFor / 2)
		w.topic.Published(comes)
		time.Sleep(awaitFor)
		synctest.Wait()
		if n := len(w.topic.feed.waits); n > 0 {
			t.Errorf("%d waits are left, want none", n)
		}
	})
}

// What is read while announcements are missing may have what was erased: it is read again.
func TestAPageFromBeforeAnErasureThatIsMissingIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(100)
		defer w.topic.Close()
		w.retains(t, 3)
		q, p := w.client(100)
		m := newOwner(w.topic, p, "1")
		w.history.shut(&w.history.after)
		go func() { _ = m.join(Want{Last: 3}) }()
		synctest.Wait()
		if err := w.history.store.Redact(t.Context(), "a", 2); err != nil { // and it is not announced
			t.Fatal(err)
		}
		w.topic.Lost()
		w.history.open(&w.history.after)
		synctest.Wait()
		if got := q.offsets(); !slices.Equal(got, []uint64{1, 3}) {
			t.Errorf("who joined meanwhile was sent %d, want 1 and 3", got)
		}
	})
}

// Failures from before anything was known do not count against those who come then.
func TestAFailureEndsNobodyWhoCameAfterTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _, _ := unread(t, false)
		defer w.topic.Close()
		time.Sleep(time.Minute) // and the looks fail
		w.publish(t, 1)
		_, m := w.join(t, 100, Want{})
		w.fail(1)
		time.Sleep(time.Minute)
		if got := m.failed(); len(got) > 0 {
			t.Errorf("it failed with %v after one look that failed, want nothing", got)
		}
	})
}
