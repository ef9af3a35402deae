package need

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
)

// Seed returns another seed in every run, unless CHIME_SEED says which, and notes it
// for a failure.
func Seed(t testing.TB) uint64 {
	t.Helper()
	n := rand.Uint64()
	if given := os.Getenv("CHIME_SEED"); given != "" {
		var err error
		if n, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatalf("CHIME_SEED: %v", err)
		}
	}
	t.Logf("to repeat this: CHIME_SEED=%d", n)
	return n
}

// Bubbles plays a random script in a bubble of its own again and again, as often as Rounds
// says, each time with another seed. The first that fails is the last, and says how to
// repeat it.
func Bubbles(t *testing.T, few, all int, play func(t *testing.T, seed uint64)) {
	t.Helper()
	seed := Seed(t)
	for range Rounds(few, all) {
		synctest.Test(t, func(t *testing.T) {
			defer func() { // here, since Test does not return if this fails
				if t.Failed() {
					t.Logf("to repeat just this: CHIME_SEED=%d", seed)
				}
			}()
			play(t, seed)
		})
		seed++
	}
}
