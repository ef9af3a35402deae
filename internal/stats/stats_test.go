package stats

import (
	"sync"
	"testing"
	"time"
)

func TestAHistogramHasWhatWasObserved(t *testing.T) {
	var h Histogram
	for _, d := range []time.Duration{0, 10 * time.Microsecond, 11 * time.Microsecond, 10 * time.Second, time.Minute} {
		h.Observe(d)
	}
	s := h.sample("a")
	if s.Count != 5 || s.Buckets[0.00001] != 2 || s.Buckets[0.00005] != 3 || s.Buckets[2.5] != 3 || s.Buckets[10] != 4 || s.Sum < 70 || s.Sum > 70.001 || len(s.Buckets) != len(bounds) {
		t.Errorf("got %+v", s)
	}
	var none *Histogram
	none.Observe(time.Second)
}

func TestWhatManyCountIsCounted(t *testing.T) {
	var n Striped
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				n.Add(2)
			}
		})
	}
	all.Wait()
	if got := n.load(); got != 16_000 {
		t.Errorf("got %d, want 16000", got)
	}
}

// Each cause has its name, and its place.
func TestEachCauseIsCountedUnderItsName(t *testing.T) {
	var s Stats
	for cause := range refusals {
		s.Refusals.Add(Refusal(cause))
	}
	for cause := range slows {
		s.Slow.Add(Slow(cause))
	}
	p := s.Pattern("p")
	for cause := range failures {
		p.Failed.Add(Failure(cause))
	}
	s.Missing.Add(OfAll)
	s.Found.Add(ByLook)
	fs := s.Families(Moment{})
	for _, name := range failures {
		if got := fs.Value("chime_publish_errors_total", "p", name); got != 1 {
			t.Errorf("failed by %s: got %v, want 1", name, got)
		}
	}
	if got := fs.Value("chime_broker_lost_total", "all"); got != 1 {
		t.Errorf("announcements of all topics: got %v, want 1", got)
	}
	if got := fs.Value("chime_broker_found_total", "look"); got != 1 {
		t.Errorf("found by a look: got %v, want 1", got)
	}
	for _, name := range refusals {
		if got := fs.Value("chime_refusals_total", name); got != 1 {
			t.Errorf("refused by %s: got %v, want 1", name, got)
		}
	}
	if len(refusals) != int(RefusedDraining)+1 || len(slows) != int(SlowUnread)+1 || len(resumes) != int(Unknown)+1 || len(recoveries) != int(Unread)+1 || len(joins) != int(Refused)+1 || len(failures) != int(FailedUncertain)+1 || len(scopes) != int(OfAll)+1 || len(finds) != int(ByLook)+1 {
		t.Error("a cause has no name, or a name no cause")
	}
}

func BenchmarkStriped(b *testing.B) {
	var n Striped
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			n.Add(1)
		}
	})
}
