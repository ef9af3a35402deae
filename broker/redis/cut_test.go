package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/internal/redistest"
	"github.com/go-chime/chime/store"
)

// TestWhatWasCutIsPublishedOnce cuts the connections of publishers whose answers do not
// come, again and again.
func TestWhatWasCutIsPublishedOnce(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		t.Parallel()
		e := program.Start(t, "--appendfsync", "no")
		p := newProxy(t, e)
		b, _ := began(t, p.url(), Options{GiveUp: patience})
		_, heard := began(t, e.URL(), Options{Prefix: b.names.prefix}, "a", "trimmed")
		const publishers = 8
		cuts, each := need.Rounds(5, 30), need.Rounds(100, 600)
		var wg sync.WaitGroup
		var mu sync.Mutex
		published := map[string]uint64{}
		for w := range publishers {
			wg.Go(func() {
				for i := range each {
					text := fmt.Sprint(w, ".", i)
					at, err := b.Publish(t.Context(), say("a", text), everything)
					if err != nil {
						t.Errorf("publish %s: %v", text, err)
						return
					}
					mu.Lock()
					published[text] = at.Offset
					mu.Unlock()
				}
			})
		}
		for range cuts {
			p.deafen(true)
			for n := 0; p.unheard() < publishers/2 && n < 5; n++ { // or all are done
				pause(t.Context(), 0)
			}
			p.cut()
			p.deafen(false)
			pause(t.Context(), 1)
		}
		wg.Wait()
		page := read(t, b, "a", store.Range{})
		seen := map[string]uint64{}
		for _, m := range page.Messages {
			if seen[string(m.Payload)] != 0 {
				t.Errorf("%s is there twice", m.Payload)
			}
			seen[string(m.Payload)] = m.Offset
		}
		if len(seen) != publishers*each {
			t.Errorf("%d messages are there, want %d", len(seen), publishers*each)
		}
		for text, offset := range published {
			if seen[text] != offset {
				t.Errorf("%s was published at %d, and is at %d", text, offset, seen[text])
			}
		}
		for i, a := range heard.wait(t, "a", publishers*each) {
			if a.Offset != page.Messages[i].Offset {
				t.Fatalf("announcement %d is %d, want %d", i, a.Offset, page.Messages[i].Offset)
			}
		}
	})
}

// appended runs the script of an attempt as it comes to the engine.
func appended(t *testing.T, b *Broker, args []string, n int, since time.Duration) string {
	t.Helper()
	args[1], args[2], args[3] = strconv.Itoa(n), strconv.FormatInt(since.Microseconds(), 10), "0"
	answer, err := b.append(t.Context(), b.names.keys("a"), args)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(answer)
}

func TestAnAttemptThatComesLateDoesNothing(t *testing.T) {
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		e := program.Start(t, "--appendfsync", "no")
		b, _ := began(t, e.URL(), Options{})
		p := say("a", "1")
		args := appendArgs(b.names.channel("a"), &p, everything)
		second := appended(t, b, args, 2, time.Second)
		for range 2 {
			if got := appended(t, b, args, 1, 0); got != "[late]" {
				t.Errorf("the first attempt, after the second: got %s, want [late]", got)
			}
		}
		if got := appended(t, b, args, 3, 2*time.Second); got != second {
			t.Errorf("a third attempt: got %s, want %s", got, second)
		}
		if page := read(t, b, "a", store.Range{}); len(page.Messages) != 1 {
			t.Errorf("%d messages are there, want 1", len(page.Messages))
		}
		erase := []string{"name", "2", "0", b.names.channel("a")}
		run := func() string {
			t.Helper()
			answer, err := evaluate(t.Context(), b.client, eraseScript, b.names.keys("a"), erase...)
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprint(answer)
		}
		if got := run(); got != "[ok]" {
			t.Errorf("erase: got %s", got)
		}
		publish(t, b, "a", "2")
		erase[1] = "1"
		if got := run(); got != "[late]" || len(read(t, b, "a", store.Range{}).Messages) != 1 {
			t.Errorf("the first attempt to erase all, after the second: got %s, want [late] and nothing erased", got)
		}
	})
}

func TestAnAttemptThatMayHaveBeenTrimmedIsUncertain(t *testing.T) {
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		e := program.Start(t, "--appendfsync", "no")
		b, _ := began(t, e.URL(), Options{})
		for _, c := range []struct {
			name  string
			after func()
			want  string
		}{
			{"nothing happened", func() {}, "first"},
			{"it was followed by many", func() {
				for i := range 250 {
					publish(t, b, "a", fmt.Sprint(i))
				}
			}, "first"},
			{"it was trimmed", func() {
				if _, err := b.Publish(t.Context(), say("a", "x"), &store.Retention{Keep: 1}); err != nil {
					t.Fatal(err)
				}
			}, "[unknown]"},
			{"all was erased", func() {
				if err := b.Erase(t.Context(), "a", 0); err != nil {
					t.Fatal(err)
				}
			}, "[unknown]"},
			{"it was redacted", func() {
				page := read(t, b, "a", store.Range{})
				publish(t, b, "a", "x")
				if err := b.Erase(t.Context(), "a", page.Messages[len(page.Messages)-1].Offset); err != nil {
					t.Fatal(err)
				}
			}, "[unknown]"},
		} {
			p := say("a", c.name)
			args := appendArgs(b.names.channel("a"), &p, everything)
			want := appended(t, b, args, 1, 0)
			c.after()
			if c.want != "first" {
				want = c.want
			}
			if got := appended(t, b, args, 2, 10*time.Second); got != want {
				t.Errorf("%s: got %s, want %s", c.name, got, want)
			}
		}
	})
}

// An ephemeral message whose answer does not come is not said twice.
func TestAnEphemeralMessageIsNotTriedAgain(t *testing.T) {
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		e := program.Start(t, "--appendfsync", "no")
		p := newProxy(t, e)
		b, _ := began(t, p.url(), Options{GiveUp: patience})
		_, heard := began(t, e.URL(), Options{Prefix: b.names.prefix}, "a")
		p.deafen(true)
		failed := make(chan error, 1)
		go func() {
			_, err := b.Publish(t.Context(), say("a", "1"), nil)
			failed <- err
		}()
		heard.wait(t, "a", 1)
		p.cut()
		p.deafen(false)
		if err := <-failed; !errors.Is(err, broker.ErrUncertain) {
			t.Errorf("got %v, want %v", err, broker.ErrUncertain)
		}
		if _, err := b.Publish(t.Context(), say("a", "2"), nil); err != nil {
			t.Error(err)
		}
		if list := heard.wait(t, "a", 2); len(list) != 2 || string(list[1].Payload) != "2" {
			t.Errorf("announced: %d, want 1 and 2", len(list))
		}
	})
}

// A call ends with its context, and says whether something may have been done.
func TestCallsEndWithTheirContext(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		t.Parallel()
		e := program.Start(t, "--appendfsync", "no")
		p := newProxy(t, e)
		b, _ := began(t, p.url(), Options{GiveUp: 300 * time.Millisecond}, "a")
		p.deafen(true)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := b.Publish(ctx, say("a", "1"), everything)
		if !errors.Is(err, broker.ErrUncertain) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a context: got %v, want %v, and %v", err, broker.ErrUncertain, context.DeadlineExceeded)
		}
		if _, err := b.Publish(t.Context(), say("a", "2"), everything); !errors.Is(err, broker.ErrUncertain) {
			t.Errorf("given up: got %v, want %v", err, broker.ErrUncertain)
		}
		if _, err := b.History().Read(t.Context(), "a", store.Range{}); !errors.Is(err, broker.ErrUnavailable) || errors.Is(err, broker.ErrUncertain) {
			t.Errorf("read: got %v, want %v", err, broker.ErrUnavailable)
		}
		p.deafen(false)
		p.cut()
		_ = p.listener.Close() // nobody is there
		for _, err := range []error{
			second(b.Publish(t.Context(), say("a", "3"), everything)), second(b.Publish(t.Context(), say("a", "3"), nil)),
			b.Erase(t.Context(), "a", 0), b.Subscribe(t.Context(), "b"), b.Health(t.Context()),
		} {
			if !errors.Is(err, broker.ErrUnavailable) && !errors.Is(err, broker.ErrUncertain) {
				t.Errorf("nobody is there: got %v, want %v", err, broker.ErrUnavailable)
			}
		}
		if err := second(b.Publish(t.Context(), say("a", "4"), everything)); !errors.Is(err, broker.ErrUnavailable) || errors.Is(err, broker.ErrUncertain) {
			t.Errorf("nobody is there: got %v, want %v and nothing uncertain", err, broker.ErrUnavailable)
		}
	})
}

func second[T any](_ T, err error) error { return err }

// A connection that is open and silent is noticed, and what was missed is told.
func TestAConnectionThatIsSilentIsMadeAgain(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		t.Parallel()
		e := program.Start(t, "--appendfsync", "no")
		p := newProxy(t, e)
		b, w := began(t, p.url(), Options{pace: 200 * time.Millisecond}, "a")
		direct, _ := began(t, e.URL(), Options{Prefix: b.names.prefix})
		publish(t, direct, "a", "1")
		w.wait(t, "a", 1)
		p.freeze()
		publish(t, direct, "a", "2")
		w.until(t, "the node is told that it may have missed something", func() bool { return w.missed["a"] > 0 })
		at := publish(t, direct, "a", "3")
		w.until(t, "announcements go on", func() bool {
			list := w.announced["a"]
			return list[len(list)-1].Offset == at
		})
		for n := 0; b.Health(t.Context()) != nil; n++ { // the connections for commands may take longer
			if !pause(t.Context(), n) {
				t.Fatal("the node is not well again")
			}
		}
	})
}

// An engine that hangs has what it was sent in its sockets. When it goes on it does that and
// what was tried again, in any order.
func TestAnEngineThatHangsPublishesOnce(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		t.Parallel()
		e := program.Start(t, "--appendfsync", "no")
		b, w := began(t, e.URL(), Options{GiveUp: patience}, "a")
		publish(t, b, "a", "before")
		redistest.Eventually(t, "all connections are there", func() bool { return b.Health(t.Context()) == nil })
		e.Stop(t)
		const publishers = 20
		var wg sync.WaitGroup
		for i := range publishers {
			wg.Go(func() {
				if _, err := b.Publish(t.Context(), say("a", fmt.Sprint(i)), everything); err != nil {
					t.Errorf("publish %d: %v", i, err)
				}
			})
		}
		// That is later than each is tried again on another connection.
		redistest.Eventually(t, "the node misses what it should hear", func() bool { return b.feeds[0].health() != nil })
		e.GoOn(t)
		wg.Wait()
		seen := map[string]int{}
		for _, m := range read(t, b, "a", store.Range{}).Messages {
			seen[string(m.Payload)]++
		}
		for text, n := range seen {
			if n != 1 {
				t.Errorf("%s is there %d times", text, n)
			}
		}
		if len(seen) != publishers+1 {
			t.Errorf("%d messages are there, want %d", len(seen), publishers+1)
		}
		if again := e.Must(t, "HLEN", b.names.keys("a")[4]); again == "0" {
			t.Error("nothing was tried again: the test shows nothing")
		}
		w.until(t, "the node has heard all, or is told", func() bool { return len(w.announced["a"]) == publishers+1 || w.missed["a"] > 0 })
	})
}
