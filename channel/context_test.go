package channel

import (
	"context"
	"errors"
	"reflect"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// lookedContext is a context that is told when package context looks into it for a
// parent that it knows: between its look at Done and its call of AfterFunc.
type lookedContext struct {
	context.Context
	tell func()
}

func (a lookedContext) Value(key any) any {
	if reflect.TypeOf(key).String() == "*int" { // a variable of package context's
		a.tell()
	}
	return a.Context.Value(key)
}

// The socket ends in the very moment in which its handler derives a context: the
// handler must get one that has ended, and not wait for itself.
func TestAContextDerivedWhileItsSocketEndsHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var armed atomic.Bool
		var cause error
		ch := &scripted{message: func(ctx context.Context, _ *Socket, _ Message) (any, error) {
			armed.Store(true)
			derived, cancel := context.WithTimeout(ctx, time.Hour)
			defer cancel()
			<-derived.Done()
			cause = context.Cause(derived)
			return nil, nil
		}}
		_, r := stage(t, ch)
		r.ctx = lookedContext{context.Background(), func() {
			if armed.CompareAndSwap(true, false) {
				r.Close(0, "", Kicked)
			}
		}}
		r.says(t, `["1","1","a","phx_join",{}]`)
		r.says(t, `["1","2","a","derives",{}]`)
		began := time.Now()
		synctest.Wait()
		ch.wants(t, "join 1", "derives", "leave 1 kicked")
		if took := time.Since(began); took != 0 || !errors.Is(cause, context.Canceled) {
			t.Errorf("it ended after %v because of %v, want at once, %v", took, cause, context.Canceled)
		}
	})
}

// What a handler derives ends with its socket, and what has ended before that is
// not held until then.
func TestContextsOfASocketEndWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s *Socket
		kept := make(chan context.Context, 10)
		type key struct{}
		ch := &scripted{message: func(ctx context.Context, socket *Socket, _ Message) (any, error) {
			s = socket
			for range 100 {
				_, cancel := context.WithCancel(ctx)
				cancel()
			}
			child, cancel := context.WithCancel(ctx)
			t.Cleanup(cancel)
			kept <- ctx
			kept <- child
			kept <- context.WithValue(child, key{}, 1)
			return nil, nil
		}}
		_, r := stage(t, ch)
		r.ctx = context.WithValue(t.Context(), key{}, "of the request")
		r.says(t, `["1","1","a","phx_join",{}]`)
		r.says(t, `["1","2","a","derives",{}]`)
		synctest.Wait()
		if n := len(s.ending.after); n != 1 {
			t.Errorf("%d contexts are to be told of the end, want the 1 that is left", n)
		}
		contexts := []context.Context{<-kept, <-kept, <-kept}
		for i, ctx := range contexts {
			if ctx.Err() != nil {
				t.Errorf("context %d has ended: %v", i, ctx.Err())
			}
		}
		if got := contexts[1].Value(key{}); got != "of the request" {
			t.Errorf("a value of the request: got %v", got)
		}
		stop := context.AfterFunc(contexts[0], func() { t.Error("what was stopped is called") })
		if !stop() {
			t.Error("stop: got false, want true")
		}
		called := make(chan struct{})
		context.AfterFunc(contexts[0], func() { close(called) })
		r.says(t, `["1","3","a","phx_leave",{}]`)
		synctest.Wait()
		for i, ctx := range contexts {
			select {
			case <-ctx.Done():
			default:
				t.Fatalf("context %d goes on after the leave", i)
			}
			if !errors.Is(ctx.Err(), context.Canceled) {
				t.Errorf("context %d: got %v, want %v", i, ctx.Err(), context.Canceled)
			}
		}
		<-called
	})
}
