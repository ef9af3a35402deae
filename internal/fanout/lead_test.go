package fanout

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/task"
	"github.com/go-chime/chime/store"
)

// Who publishes waits until the connections have been written to what came one slice
// before, and no longer than a second.
func TestAPublisherDoesNotRunAheadOfTheConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rounds []chan struct{}
		var tasks task.Group
		topic := New("a", Config{Tasks: &tasks, BeginRound: func() <-chan struct{} {
			rounds = append(rounds, make(chan struct{}))
			return rounds[len(rounds)-1]
		}})
		defer topic.Close()
		published := make(chan time.Duration, 100)
		publish := func(bytes int) {
			begun := time.Now()
			topic.Published(broker.Publication{Topic: "a", Message: store.Message{Event: "e", Payload: make([]byte, bytes)}})
			published <- time.Since(begun)
		}
		for range 10 {
			publish(slice / 20)
		}
		if len(rounds) != 0 {
			t.Fatalf("%d rounds for half a slice, want none", len(rounds))
		}
		publish(slice)
		for range 11 {
			if took := <-published; took != 0 || len(rounds) != 1 {
				t.Fatalf("waited for %v with %d rounds begun, want one round and no wait for it", took, len(rounds))
			}
		}
		first := rounds[0]
		go func() {
			time.Sleep(100 * time.Millisecond)
			close(first)
		}()
		publish(slice)
		if took := <-published; took != 100*time.Millisecond || len(rounds) != 2 {
			t.Errorf("waited for %v with %d rounds begun, want 100ms, until the first was done, and the second begun", took, len(rounds))
		}
		go publish(slice)
		synctest.Wait()
		time.Sleep(maxPause / 4)
		go publish(1) // overtakes nobody
		synctest.Wait()
		if len(published) > 0 {
			t.Error("the connections were not written to, and who publishes did not wait")
		}
		time.Sleep(2 * maxPause)
		for range 2 {
			if took := <-published; took != maxPause {
				t.Errorf("waited for %v for connections that are never written to, want %v", took, maxPause)
			}
		}
		close(rounds[1])
		publish(1)
		if took := <-published; took != 0 {
			t.Errorf("waited for %v though the round is done, want no wait", took)
		}
	})
}
