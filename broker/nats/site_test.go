package nats

import (
	"context"
	"testing"
	"testing/synctest"

	client "github.com/nats-io/nats.go"
)

// What comes while a broker is closed is waited for, and nothing is called after that: an
// application that has closed it is asked nothing any more.
func TestCloseWaitsForWhatComes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s site
		s.ctx, s.end = context.WithCancel(t.Context())
		calls, release := 0, make(chan struct{})
		f := s.untilEnd(func(*client.Msg) {
			calls++
			<-release
		})
		go f(nil)
		synctest.Wait()
		s.end()
		closed := false
		go func() {
			_ = s.tasks.Wait(t.Context())
			closed = true
		}()
		synctest.Wait()
		if closed {
			t.Error("a call goes on, and is not waited for")
		}
		close(release)
		synctest.Wait()
		f(nil)
		if !closed || calls != 1 {
			t.Errorf("closed %t after %d calls, want it closed after one", closed, calls)
		}
	})
}
