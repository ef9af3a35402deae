package clientsocket

import (
	"math"
	"testing"
	"time"
)

func TestExpiry(t *testing.T) {
	soon := time.Now().Add(time.Hour)
	for _, test := range []struct {
		name   string
		at     time.Time
		want   time.Time
		passed bool
	}{
		{"never", time.Time{}, time.Time{}, false},
		{"soon", soon, soon, false},
		{"just now", time.Now().Add(-time.Second), time.Now().Add(-time.Second), true},
		{"the epoch is not never", time.Unix(0, 0), time.Unix(0, 1), true},
		{"before the epoch", time.Unix(-1, 0), time.Unix(0, 1), true},
		{"later than nanoseconds go", time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC), time.Time{}, false},
	} {
		var e expiry
		e.set(test.at)
		if got := e.time(); got.Sub(test.want).Abs() > time.Minute || got.IsZero() != test.want.IsZero() {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
		if left := e.left(); (left <= 0) != test.passed || test.want.IsZero() && left != math.MaxInt64 {
			t.Errorf("%s: %v is left, want it passed: %v", test.name, left, test.passed)
		}
	}
}
