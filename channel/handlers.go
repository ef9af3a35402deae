package channel

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-chime/chime/internal/stats"
)

// handlers are the calls of the application's code that have not returned. A
// shutdown that has to give up names them.
type handlers struct {
	mu      sync.Mutex      // guards running
	running map[any]running // by what has called, an inbox, an outbox or a lookback: each has one at a time
}

// running is a call that has not returned.
type running struct {
	call
	topic string
}

// call is a call of a handler.
type call struct {
	handler string
	end     canceler // of the context that it was given; nil: it was given none
	stats   *stats.Handler
}

type canceler interface{ cancel() }

// cancelFunc makes a canceler of a function.
type cancelFunc context.CancelFunc

func (f cancelFunc) cancel() { f() }

func (h *handlers) began(of any, topic string, c call) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.running == nil {
		h.running = map[any]running{}
	}
	h.running[of] = running{c, topic}
}

func (h *handlers) returned(of any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.running, of)
}

// cancelOf ends the context that was given by one, if that runs.
func (h *handlers) cancelOf(of any) {
	h.mu.Lock()
	c := h.running[of]
	h.mu.Unlock()
	if c.end != nil {
		c.end.cancel()
	}
}

// cancel ends the contexts of all that run.
func (h *handlers) cancel() {
	var ends []canceler
	h.mu.Lock()
	for _, c := range h.running {
		if c.end != nil {
			ends = append(ends, c.end)
		}
	}
	h.mu.Unlock()
	for _, end := range ends { // a context calls what depends on it
		end.cancel()
	}
}

// mostNamed is how many handlers an error names.
const mostNamed = 8

// names says which handlers run, and which drafts are being written, for a person.
func (h *handlers) names(routes *routes, drafts []*Draft) string {
	count := map[string]int{}
	for _, d := range drafts {
		count[fmt.Sprintf("DraftFunc of %q (%s)", d.topic, d.route.pattern.text)]++
	}
	h.mu.Lock()
	for _, c := range h.running {
		pattern := "no pattern"
		if r := routes.match(c.topic); r != nil {
			pattern = r.pattern.text
		}
		count[fmt.Sprintf("%s of %q (%s)", c.handler, c.topic, pattern)]++
	}
	h.mu.Unlock()
	var list []string
	for name, n := range count {
		if n > 1 {
			name += fmt.Sprintf(" %d times", n)
		}
		list = append(list, name)
	}
	slices.Sort(list)
	if more := len(list) - mostNamed; more > 0 {
		list = append(list[:mostNamed], fmt.Sprintf("and in %d more topics", more))
	}
	if len(list) == 0 {
		return ""
	}
	return fmt.Sprintf("still running: %s: want handlers that return when their context ends", strings.Join(list, ", "))
}

// Shutdown stops all drafts, refuses new ones, and returns when no handler runs, which
// begins when all client sockets have ended. When half of the time of ctx is over, the
// contexts of those that still run end. The error is that of ctx, and names the handlers
// that have not returned.
func (h *Hub) Shutdown(ctx context.Context) error {
	h.drafts.close()
	h.endLooks() // nobody is left to be sent what they find, and an engine that hangs would be waited for
	if deadline, ok := ctx.Deadline(); ok {
		half := time.AfterFunc(time.Until(deadline)/2, h.running.cancel)
		defer half.Stop()
	}
	err := h.tasks.Wait(ctx)
	if err == nil {
		return nil
	}
	if names := h.running.names(&h.routes, h.drafts.all()); names != "" {
		return fmt.Errorf("%w: %s", err, names)
	}
	return err
}
