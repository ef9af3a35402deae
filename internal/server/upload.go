package server

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/go-chime/chime/internal/clientsocket"
	"github.com/go-chime/chime/internal/stats"
)

// uploads read the bodies of POSTs, which their clients pay for first.
type uploads struct {
	posts posts
	most  int // bytes of a body
	stats *stats.Stats
}

// read reads the body of a POST of c, and calls take with it: for one POST with a secret
// at a time. Of a POST that is to come again no more is read.
func (u *uploads) read(b *body, c *clientsocket.ClientSocket, secret string, take func([]byte)) *refusal {
	refused := u.try(b, c, secret, take)
	if refused != nil && refused.retry > 0 {
		b.refuse()
	}
	return refused
}

func (u *uploads) try(b *body, c *clientsocket.ClientSocket, secret string, take func([]byte)) *refusal {
	most, fits := b.most(u.most)
	if !fits {
		return u.tooLarge(c)
	}
	if wait := c.Pay(most); wait > 0 {
		c.Heard(secret) // it has to wait, but is there
		return &refusal{http.StatusTooManyRequests, "too many bytes", wait}
	}
	// What is refused as the second one has been sent, too, and stays paid for.
	this, only := u.posts.begin(secret, b.giveUp)
	if !only {
		return u.second()
	}
	defer u.posts.end(secret, this)
	// Read before the lock: a slow body must not hold up other POSTs.
	data, err := b.read(u.most)
	c.Repay(most - len(data))
	switch {
	case !u.posts.come(this):
		return u.second()
	case errors.Is(err, errTooMuch):
		return u.tooLarge(c)
	case err != nil:
		return unreadable
	}
	take(data)
	return nil
}

// second refuses a POST beside another with the same secret.
func (u *uploads) second() *refusal {
	u.stats.Refusals.Add(stats.RefusedSecond)
	return busy
}

// tooLarge refuses a POST that is larger than a batch may be.
func (u *uploads) tooLarge(c *clientsocket.ClientSocket) *refusal {
	c.Malformed()
	return &refusal{status: http.StatusRequestEntityTooLarge, reason: "batch is over " + strconv.Itoa(u.most) + " bytes"}
}
