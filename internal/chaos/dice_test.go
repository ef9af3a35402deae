package chaos

import (
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

// dice are what happens at random: to one client, in one run.
type dice struct {
	mu  sync.Mutex // guards rng
	rng *rand.Rand
}

func newDice(seed, of uint64) *dice { return &dice{rng: rand.New(rand.NewPCG(seed, of))} }

// n is one of 0 to n-1.
func (d *dice) n(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rng.IntN(n)
}

// one is true once in n times.
func (d *dice) one(n int) bool { return d.n(n) == 0 }

// size is one of 1 to most, each order of magnitude as often as any other.
func (d *dice) size(most int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return max(1, int(math.Exp(d.rng.Float64()*math.Log(float64(most)))))
}

func (d *dice) between(least, most time.Duration) time.Duration {
	return least + time.Duration(d.n(int(most-least)))
}
