package channel

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

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
