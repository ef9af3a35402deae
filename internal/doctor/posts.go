package doctor

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// proves reports whether a probe that goes up by a POST is answered on the connection.
func (x *exam) proves(c *conn) bool {
	sent := time.Now()
	h := c.say(probe("first"))
	f, ok := c.await("probe_ok", "first", patience)
	switch {
	case ok && h.status == http.StatusOK:
		x.note(c.kind, "client to server", "POST: %s after %s; a probe is answered after %s", h, short(h.after), short(f.at.Sub(sent)))
	case ok:
		x.note(c.kind, "client to server", "POST: %s, and yet it was heard", h)
	case h.status == http.StatusOK:
		x.note(c.kind, "client to server", "POST: %s after %s; a probe has no answer", h, short(h.after))
	default:
		x.note(c.kind, "client to server", "no: POST: %s", h)
		x.fault(postsRefused, "a POST is answered with %s", h)
	}
	return ok
}

// posts finds out what becomes of POSTs: whether each comes to the server once, in order,
// and is answered.
func (x *exam) posts(c *conn) {
	const times = 4
	var unanswered []string
	heard := map[string]int{}
	for n := range times {
		nonce := fmt.Sprint("post ", n)
		h := c.say(probe(nonce))
		if f, ok := c.await("probe_ok", nonce, patience); ok {
			heard[f.payload.Nonce]++
			if h.status != http.StatusOK {
				unanswered = append(unanswered, h.String())
			}
		}
	}
	var both sync.WaitGroup // begun one behind the other, as one client never does
	both.Go(func() { c.say(probe("earlier")) })
	time.Sleep(50 * time.Millisecond)
	both.Go(func() { c.say(probe("later")) })
	var order []string
	for end := time.Now().Add(time.Second); ; {
		f, ok := c.next(time.Until(end))
		if !ok {
			break
		}
		if f.event == "probe_ok" {
			order = append(order, f.payload.Nonce)
			heard[f.payload.Nonce]++
		}
	}
	both.Wait()
	twice := 0
	for _, n := range heard {
		if n > 1 {
			twice++
		}
	}
	text, first := strings.Join(order, " "), "neither"
	if len(order) > 0 {
		first = order[0]
	}
	switch {
	case len(unanswered) > 0:
		x.fault(postsUnanswered, "%d of %d POSTs were taken and yet answered with %s", len(unanswered), times, unanswered[0])
	case twice > 0:
		x.fault(postsRepeated, "%d of %d POSTs were taken twice", twice, len(heard))
	case strings.HasPrefix(text, "later") && strings.Contains(text, "earlier"):
		x.fault(postsReordered, "of two POSTs the later one came first")
	}
	x.note(c.kind, "POSTs", "%d sent: %d taken and not answered, %d taken twice; of two at once, taken first: %s", times+2, len(unanswered), twice, first)
}
