package mono

import (
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
)

// set returns t as it would be had the wall clock been set by d, in whole
// seconds, after t was read: the monotonic reading stays. It knows how time.Time
// is laid out, and checks that it does.
func set(t *testing.T, at time.Time, d time.Duration) time.Time {
	t.Helper()
	moved := at
	*(*uint64)(unsafe.Pointer(&moved)) -= uint64(d/time.Second) << 30
	if wall := at.Round(0).Sub(moved.Round(0)); wall != d || !at.Equal(moved) {
		t.Fatalf("the wall clock was set by %v and the monotonic one by %v, want %v and 0", wall, at.Sub(moved), d)
	}
	return moved
}

func TestAWallClockThatIsSetMovesNoInstant(t *testing.T) {
	for _, by := range []time.Duration{35 * time.Second, -35 * time.Second, 24 * time.Hour} {
		if got := at(set(t, start, by)).Sub(at(start)); got < -time.Second || got > time.Second {
			t.Errorf("wall clock set by %v: the present moment moved by %v, want by nothing", by, got)
		}
	}
}

func TestInstantsMeasureTheTimeOfABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := Now()
		time.Sleep(15 * time.Second)
		if got := Now().Sub(begun); got != 15*time.Second {
			t.Errorf("got %v, want 15s", got)
		}
		if got, want := begun.Add(time.Minute).Deadline(), time.Now().Add(45*time.Second); !got.Equal(want) {
			t.Errorf("got the deadline %v, want %v", got, want)
		}
	})
}
