package need

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
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
