// Package hostile_test attacks a Router: with bytes that are no frame, with clients
// that are slow, with requests of other origins. In each test a witness sits in the
// topic, and must get the next broadcast as if nothing had happened.
package hostile_test

import (
	"os"
	"testing"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/internal/leak"
)

func TestMain(m *testing.M) {
	if host := os.Getenv(attackHost); host != "" { // see attackFrom
		attack(host, rateOfAttack())
		return
	}
	leak.Main(m)
}

// refusals returns how much live has refused for that reason.
func refusals(live *chime.Router, reason string) int {
	return int(live.Stats().Value("chime_refusals_total", reason))
}
