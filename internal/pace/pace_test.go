package pace

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/internal/mono"
)

func TestABucketAllowsTenSecondsWorthAndThenTheRate(t *testing.T) {
	var b Bucket
	r, now := Of(5, 0), mono.Instant(-7) // of a process that thinks that it is earlier
	for n := range 50 {
		if allowed, enough := b.Take(r, 1, now); !allowed || enough {
			t.Fatalf("%d: got allowed %t, enough %t, want it allowed", n, allowed, enough)
		}
	}
	for n := range 50 { // whoever goes on owes that, too
		if allowed, enough := b.Take(r, 1, now); allowed || enough {
			t.Fatalf("%d beyond: got allowed %t, enough %t, want neither", n, allowed, enough)
		}
	}
	for range 100 {
		if allowed, enough := b.Take(r, 1, now); allowed || !enough {
			t.Fatalf("got allowed %t, enough %t, want enough", allowed, enough)
		}
	}
	now = now.Add(11 * time.Second) // it never owes more than that
	for n := range 5 {
		if allowed, _ := b.Take(r, 1, now); !allowed {
			t.Fatalf("%d after 11 s: got it refused", n)
		}
	}
	if allowed, _ := b.Take(r, 1, now); allowed {
		t.Error("a sixth after 11 s: got it allowed")
	}
	now = now.Add(time.Hour)
	if allowed, _ := b.Take(r, 50, now); !allowed {
		t.Error("50 after an hour: got them refused")
	}
	if allowed, _ := b.Take(r, 1, now); allowed {
		t.Error("a burst that grew while it was unused")
	}
}

func TestWhatIsRefusedIsToldHowLongToWait(t *testing.T) {
	var b Bucket
	r, now := Of(2, 30), mono.Instant(0)
	for range 30 { // as many as one must be able to do at once
		if wait := b.Try(r, 1, now); wait != 0 {
			t.Fatalf("got %v to wait, want none", wait)
		}
	}
	for range 3 { // and costs nothing
		if wait := b.Try(r, 1, now); wait != 500*time.Millisecond {
			t.Errorf("got %v to wait, want 500ms", wait)
		}
	}
	if wait := b.Try(r, 1, now.Add(500*time.Millisecond)); wait != 0 {
		t.Errorf("got %v to wait after that, want none", wait)
	}
}

func TestWhatIsGivenBackWasNotUsed(t *testing.T) {
	var b Bucket
	r, now := Of(2, 30), mono.Instant(0)
	if wait := b.Try(r, 30, now); wait != 0 {
		t.Fatalf("got %v to wait for all at once, want none", wait)
	}
	if wait := b.Try(r, 4, now); wait != 2*time.Second {
		t.Errorf("got %v to wait for 4 more, want 2s", wait)
	}
	b.Return(r, 3)
	if wait := b.Try(r, 4, now); wait != 500*time.Millisecond {
		t.Errorf("got %v to wait for 4 after 3 were given back, want 500ms", wait)
	}
	if wait := b.Try(r, 3, now); wait != 0 {
		t.Errorf("got %v to wait for these 3, want none", wait)
	}
}

func TestNoRateIsNoBound(t *testing.T) {
	var b Bucket
	for range 1000 {
		if allowed, enough := b.Take(Of(-1, 0), 1<<30, 0); !allowed || enough || b.Try(Rate{}, 1, 0) != 0 {
			t.Fatal("got it refused")
		}
	}
}

func TestALedgerKnowsItsNamesApartAndForgetsThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLedger(Of(1, 0))
		use := func(name string, n int) {
			t.Helper()
			for i := range n {
				if wait := l.Try(name); wait != 0 {
					t.Fatalf("%s, %d: got %v to wait, want none", name, i, wait)
				}
			}
			if wait := l.Try(name); wait != time.Second {
				t.Errorf("%s: got %v to wait after %d, want 1s", name, wait, n)
			}
		}
		use("a", 10)
		use("b", 10)
		for range 30 { // accounts move and are not lost while they owe something
			time.Sleep(time.Second)
			use("a", 1)
		}
		use("b", 10)
		for n := range 3 * maxAccounts {
			l.Try(fmt.Sprint(n))
		}
		if n := len(l.young) + len(l.old); n > 2*maxAccounts {
			t.Errorf("%d accounts, want at most %d", n, 2*maxAccounts)
		}
		time.Sleep(time.Minute)
		l.Try("c")
		time.Sleep(time.Minute)
		l.Try("c")
		if n := len(l.young) + len(l.old); n > 2 {
			t.Errorf("%d accounts after a minute, want that of the only one that came, of now and of before", n)
		}
		for range 100 {
			if l.Try("") != 0 {
				t.Fatal("nobody was refused")
			}
		}
	})
}

func TestWithinAnyWhileThereAreAtMostSoMany(t *testing.T) {
	rate, now := Within(3, time.Second), mono.Now()
	var b Bucket
	for i, test := range []struct {
		after time.Duration
		wait  time.Duration
	}{{0, 0}, {0, 0}, {0, 0}, {0, time.Second / 3}, {400 * time.Millisecond, 0}, {400 * time.Millisecond, time.Second/3*2 - 400*time.Millisecond}, {2 * time.Second, 0}} {
		if got := b.Try(rate, 1, now.Add(test.after)); got.Round(time.Millisecond) != test.wait.Round(time.Millisecond) {
			t.Errorf("%d, after %v: got a wait of %v, want %v", i, test.after, got, test.wait)
		}
	}
}
