package channel

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

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
