package chaos

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-chime/chime/transport"
)

// post sends one POST after the other, as long as the last connection is no WebSocket.
func (c *resumer) post() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.isStopped() {
		all := c.forgotten + uint64(len(c.queue))
		due := c.word || c.known < all || c.kind == transport.SSE && c.received >= c.acked+c.often
		target := ways[c.kind]
		if target == "" || c.secret == "" || !due {
			c.changed.Wait()
			continue
		}
		const mostFrames, mostBytes = 50, 200_000
		first := max(c.known, c.forgotten) + 1
		var frames []string
		bytes := 0
		for _, text := range c.queue[first-1-c.forgotten:] {
			if bytes += len(text); len(frames) > 0 && (len(frames) == mostFrames || bytes > mostBytes) {
				break
			}
			frames = append(frames, text)
		}
		secret, received, promoted := c.secret, c.received, c.promoted
		body := fmt.Sprintf(`{"first":%d,"received":%d,"frames":[%s]}`, first, received, strings.Join(frames, ","))
		again := c.dice.one(10) // a proxy that sends it again
		c.mu.Unlock()
		status, answer, err := c.peer.post(target, secret, body, promoted)
		if again {
			_, _, _ = c.peer.post(target, secret, body, promoted)
		}
		c.mu.Lock()
		if secret != c.secret {
			continue
		}
		c.posted(status, answer, err, received)
		if err != nil || status != http.StatusOK {
			c.mu.Unlock()
			c.rest()
			c.mu.Lock()
		}
	}
}

// posted takes the answer to a POST of the present connection. C.mu is held.
func (c *resumer) posted(status int, answer []byte, err error, received uint64) {
	switch {
	case err != nil, status == http.StatusTooManyRequests, status == http.StatusBadGateway, status == http.StatusServiceUnavailable: // the same batch again
	case status == http.StatusOK:
		var result struct{ Applied, Sent uint64 }
		err := json.Unmarshal(answer, &result)
		if all := c.forgotten + uint64(len(c.queue)); err != nil || result.Applied > all || result.Sent < received {
			c.stage.fault("%s: the answer %s to a POST: it has sent %d and received %d", c.name, answer, all, received)
		}
		c.note(result.Applied)
		c.acked = max(c.acked, received)
		c.word = false
	case status == http.StatusGone:
		if c.line != nil {
			c.line.cut()
		}
	default:
		c.stage.fault("%s: the answer to a POST is %d %s", c.name, status, answer)
	}
}
