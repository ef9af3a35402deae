package fanout

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// All announcements may be missing at once: the history is read for a few topics at
// one time, and for each in the end.
func TestChecksReadForAFewTopicsAtOneTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 1000
		w := newWorld(100)
		topics := make([]*Topic, n)
		for i := range topics {
			topics[i] = w.open(fmt.Sprint(i))
		}
		w.history.shut(&w.history.before)
		for range 2 {
			for _, topic := range topics {
				topic.Lost()
			}
		}
		synctest.Wait()
		if w.history.reads != maxChecks {
			t.Errorf("%d reads at one time, want %d", w.history.reads, maxChecks)
		}
		w.history.open(&w.history.before)
		synctest.Wait()
		// The topics that were being read for when it was said again are read for again.
		if w.history.most > maxChecks || w.history.reads < n || w.history.reads > n+maxChecks {
			t.Errorf("%d reads, %d at one time, want one for each of %d topics, %d at one time", w.history.reads, w.history.most, n, maxChecks)
		}
		if len(w.checks.waiting) > 0 || w.checks.running > 0 {
			t.Errorf("%d topics wait, and %d goroutines run, want none", len(w.checks.waiting), w.checks.running)
		}
	})
}

// retrying is how long a check goes on.
func retrying() (total time.Duration) {
	for _, pause := range retries {
		total += pause
	}
	return total
}

// A history that can't be read for a while ends nobody; if that goes on, the members
// fail, since they may have missed something.
func TestACheckThatFailsIsRepeated(t *testing.T) {
	for fails, want := range map[int]error{0: nil, 1: nil, len(retries): nil, len(retries) + 1: errors.New("disk on fire")} {
		t.Run(fmt.Sprint(fails, " times"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(100)
				w.publish(t, 3)
				q, m := w.join(t, 100, Want{Last: 1})
				w.retain(t) // and it is not announced
				w.history.fails = fails
				w.topic.Lost()
				time.Sleep(retrying())
				synctest.Wait()
				if got := m.failed(); (len(got) > 0) != (want != nil) {
					t.Errorf("the member failed with %v, want %v", got, want)
				}
				if want == nil && !slices.Equal(q.offsets(), []uint64{3, 4}) {
					t.Errorf("it was sent %d, want 3 and 4", q.offsets())
				}
				if w.history.reads > fails+2 {
					t.Errorf("the history was read %d times, want one for each failure and two", w.history.reads)
				}
			})
		})
	}
}

// Nobody waits for a check of a topic without members.
func TestACheckEndsWithItsTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(100)
		w.publish(t, 1)
		w.history.fails = 1
		w.topic.Lost()
		synctest.Wait()
		w.topic.Close()
		began := time.Now()
		time.Sleep(time.Minute)
		synctest.Wait()
		if w.history.reads != 1 {
			t.Errorf("it was read %d times within %v of the close, want once, before that", w.history.reads, time.Since(began))
		}
	})
}
