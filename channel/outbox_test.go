package channel

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/go-chime/chime/internal/fanout"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/store"
)

// A client that does not read costs what its queue and its outbox hold, and is sent the
// rest when it reads again.
func TestAnOutgoingForAClientThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rewrites := 0 // one goroutine at a time
		h, r := stageOn(t, store.NewMemory(), &scripted{}, History{Keep: 1000}, Outgoing(func(_ context.Context, _ *Socket, m Message) (any, bool) {
			rewrites++
			return map[string]any{"n": rewrites, "pad": len(m.Payload)}, true
		}, "new"))
		h.limits.QueueBytes = 8 << 10
		r.limits.QueueBytes = 8 << 10
		r.says(t, `["1","1","a","phx_join",{}]`)
		synctest.Wait()
		r.takes()
		r.stick(true)
		const messages = 500
		for range messages {
			if err := h.Broadcast(t.Context(), "a", "new", map[string]string{"pad": strings.Repeat("x", 100)}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if rewrites > 100 {
			t.Errorf("%d messages were rewritten for a client that does not read", rewrites)
		}
		r.stick(false)
		synctest.Wait()
		got := r.takes()
		if len(got) != messages {
			t.Fatalf("sent %d messages, want %d", len(got), messages)
		}
		for i, text := range got {
			if want := fmt.Sprintf(`{"n":%d,"pad":110}]`, i+1); !strings.HasSuffix(text, want) {
				t.Fatalf("message %d: got %s, want %s", i, text, want)
			}
		}
	})
}

// crowded is a client socket whose queue has room, and whose room others take before what
// was to be sent comes.
type crowded struct {
	*reader
	refuses int // so many offers of what is retained
}

func (c *crowded) Offer(m *wire.Message, to string) bool {
	if m.Offset > 0 && c.refuses > 0 {
		c.refuses--
		return false
	}
	return c.reader.Offer(m, to)
}

func TestAnOutgoingWaitsForRoomUntilThereIsSome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		as := func(_ context.Context, _ *Socket, m Message) (any, bool) { return m.Payload, true }
		h, r := stageOn(t, store.NewMemory(), &scripted{}, History{Keep: 10}, Outgoing(as, "new"))
		c := &crowded{reader: r}
		r.receiver = h.Accept(c)
		r.says(t, `["1","1","a","phx_join",{}]`)
		synctest.Wait()
		r.takes()
		c.refuses = 5
		for n := range 3 {
			if err := h.Broadcast(t.Context(), "a", "new", map[string]int{"n": n}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		got := r.takes()
		if len(got) != 3 {
			t.Fatalf("sent %q, want 3 messages", got)
		}
		for n, text := range got {
			if want := fmt.Sprintf(`{"n":%d}]`, n); !strings.HasSuffix(text, want) {
				t.Errorf("message %d: got %s, want %s", n, text, want)
			}
		}
	})
}

// What waits for an application's function is bounded in bytes, too: the rest is read from
// the history.
func TestAnOutboxHoldsLittleOfLargeMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		h, r := stageOn(t, store.NewMemory(), &scripted{}, History{Keep: 100}, Outgoing(func(_ context.Context, _ *Socket, m Message) (any, bool) {
			<-release
			return map[string]int{"bytes": len(m.Payload)}, true
		}, "new"))
		r.says(t, `["1","1","a","phx_join",{}]`)
		synctest.Wait()
		r.takes()
		const messages, size = 20, 50 << 10
		for range messages {
			if err := h.Broadcast(t.Context(), "a", "new", map[string]string{"pad": strings.Repeat("x", size)}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		h.topics.find("a").Members(func(o fanout.Owner) {
			box := o.(*owner).outbox
			box.mu.Lock()
			defer box.mu.Unlock()
			if box.bytes == 0 || box.bytes > maxOutboxBytes+2*size {
				t.Errorf("%d bytes wait, want some, and at most %d and a message", box.bytes, maxOutboxBytes)
			}
		})
		close(release)
		synctest.Wait()
		if got := r.takes(); len(got) != messages {
			t.Errorf("sent %d messages, want %d", len(got), messages)
		}
	})
}

// A position tells of what was withheld only where no message follows that has one.
func TestAPositionIsNotBehindAMessage(t *testing.T) {
	for messages, want := range map[int][]string{1: {`"@position"`}, 2: {`{"n":2}`}, 3: {`{"n":2}`, `"@position"`}} {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			h, r := stageOn(t, store.NewMemory(), &scripted{}, History{Keep: 100}, Outgoing(func(_ context.Context, _ *Socket, m Message) (any, bool) {
				<-release
				return m.Payload, string(m.Payload) == `{"n":2}`
			}, "new"))
			r.says(t, `["1","1","a","phx_join",{"@last":0}]`)
			synctest.Wait()
			r.takes()
			for n := range messages {
				if err := h.Broadcast(t.Context(), "a", "new", map[string]int{"n": n + 1}); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
			close(release)
			synctest.Wait()
			got := r.takes()
			if len(got) != len(want) {
				t.Fatalf("sent %q, want %q", got, want)
			}
			for i := range want {
				if !strings.Contains(got[i], want[i]) {
					t.Errorf("sent %s, want %s", got[i], want[i])
				}
			}
		})
	}
}

// What waits for an application's function and can't be read again is bounded in bytes, as
// the queue of a client is, and counts among what all queues hold: a large message once,
// whoever it waits for.
func TestWhatWaitsForAnOutgoingIsBoundedInBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		h, ann := stageOn(t, store.NewMemory(), &scripted{}, Outgoing(func(_ context.Context, s *Socket, m Message) (any, bool) {
			if s.ID() != "bob" {
				<-release
			}
			return m.Payload, true
		}, "new"))
		const size, around, room = 50 << 10, 500, 5 // messages that fit
		h.limits.QueueBytes = room * (size + around)
		ada, bob := newReader(h, "ada"), newReader(h, "bob")
		defer ada.Close(0, "", Closed)
		defer bob.Close(0, "", Closed)
		for _, r := range []*reader{ann, ada, bob} {
			r.says(t, `["1","1","a","phx_join",{}]`)
			synctest.Wait()
			r.takes()
		}
		for n := range room + 2 { // the function has the first
			if got := h.queues.Taken(); got < 2*n*size || got > 2*n*(size+around) {
				t.Errorf("behind %d messages %d bytes are taken, want each once, in two forms", n, got)
			}
			if got := ann.takes(); len(got) > 0 {
				t.Fatalf("behind %d messages: sent %q, want nothing while they fit", n, got)
			}
			if err := h.Broadcast(t.Context(), "a", "new", map[string]string{"pad": strings.Repeat("x", size)}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		for _, r := range []*reader{ann, ada} {
			if got := r.takes(); len(got) != 1 || !strings.Contains(got[0], overloaded) {
				t.Errorf("%s was sent %d messages, want phx_error, overloaded", r.id, len(got))
			}
		}
		if got := bob.takes(); len(got) != room+2 {
			t.Errorf("bob was sent %d messages, want all %d", len(got), room+2)
		}
		close(release)
		synctest.Wait()
		if got := h.queues.Taken(); got != 0 {
			t.Errorf("%d bytes are taken, want none when nothing waits", got)
		}
	})
}
