package boltstore

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/go-chime/chime/store"
)

// taken is what the test takes in place of the committer: it answers each operation.
func taken(q *queue) (n int, last bool) {
	ops, last := q.take()
	for _, o := range ops {
		o.done <- nil
	}
	return len(ops), last
}

func TestAFullQueueWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		done := make(chan error, 2)
		put := func(ctx context.Context, size int) {
			go func() { done <- q.do(ctx, &op{size: size}) }()
			synctest.Wait()
		}
		put(t.Context(), queueBytes)
		ctx, cancel := context.WithCancel(t.Context())
		put(ctx, 1)
		if n := q.waiting(); n != 1 {
			t.Errorf("waiting: got %d operations, want the one that fills the queue", n)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("waiting for room with a context that is done: got %v, want %v", err, context.Canceled)
		}
		put(t.Context(), 1)
		for _, want := range []int{1, 1} { // what waited for room comes when it is taken
			if n, _ := taken(q); n != want {
				t.Errorf("taken: got %d operations, want %d", n, want)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}
	})
}

func TestAContextDoesNotEndWhatWasTakenIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- q.do(ctx, &op{}) }()
		synctest.Wait()
		cancel()
		synctest.Wait()
		taken(q)
		if err := <-done; err != nil {
			t.Errorf("got %v, want what became of the operation", err)
		}
	})
}

func TestAQueueThatIsClosedOrFailedTakesNothing(t *testing.T) {
	why := errors.New("the disk is gone")
	for name, c := range map[string]struct {
		end  func(*queue)
		want error
	}{
		"closed": {(*queue).close, store.ErrClosed},
		"failed": {func(q *queue) { q.refuse(why) }, why},
	} {
		t.Run(name, func(t *testing.T) {
			q := newQueue()
			c.end(q)
			if err := q.do(t.Context(), &op{}); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if _, last := taken(q); last != (name == "closed") {
				t.Errorf("last: got %t", last)
			}
		})
	}
}
