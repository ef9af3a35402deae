package chaos

import (
	"sync"
	"time"
)

// tally is how much a client has read of late. The zero value is nothing.
type tally struct {
	mu    sync.Mutex // guards what follows
	bytes [16]int    // in each of the last seconds
	of    [16]int64  // the second that each is of
}

func (t *tally) add(bytes int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now().Unix()
	i := now % int64(len(t.of))
	if t.of[i] != now {
		t.of[i], t.bytes[i] = now, 0
	}
	t.bytes[i] += bytes
}

// sum returns the bytes of the last StuckFor.
func (t *tally) sum() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	sum := 0
	for i, of := range t.of {
		if time.Now().Unix()-of <= int64(stuckFor/time.Second) {
			sum += t.bytes[i]
		}
	}
	return sum
}
