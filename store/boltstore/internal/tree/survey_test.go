package tree

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/internal/eviction"
)

// surveyed looks at all topics in small steps, and has topics go until there is room. It
// returns those that are left.
func surveyed(t *testing.T, do func(at time.Duration, do func(*Plan)) int64, at time.Duration, bytes bool, need uint64) (left []string) {
	t.Helper()
	s := NewSurvey(bytes, need)
	for !s.Done() {
		do(at, func(p *Plan) { s.Look(p.topics.tx, int64(at), 3) })
	}
	for done := false; !done; {
		do(at, func(p *Plan) { done = s.Evict(p, 2) })
	}
	do(at, func(p *Plan) { sweep(t, p, math.MaxInt, math.MaxInt) })
	do(at, func(p *Plan) {
		for name := range Names(p.topics.tx, func(err error) { t.Error(err) }) {
			left = append(left, name)
		}
		if n := p.Known(); n != uint64(len(left)) {
			t.Errorf("known: got %d, want %d", n, len(left))
		}
	})
	return left
}

// At random, against the rule as one would explain it.
func TestTheEmptiestAndOldestOfTheGreatestGroupGoFirst(t *testing.T) {
	type said struct {
		name, group string
		n           int
		size        uint64
		used        time.Duration
	}
	seed := need.Seed(t)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 30 {
		do := planned(t)
		var all []*said
		for i := range 5 + r.IntN(40) {
			group := []string{"", "", "room", "ro", "roo!", "a"}[r.IntN(6)]
			name := fmt.Sprint(i)
			if group != "" {
				name = group + ":" + name
			}
			all = append(all, &said{name: name, group: group})
		}
		const now = time.Hour
		for range 3 * len(all) {
			s := all[r.IntN(len(all))]
			at := time.Duration(1 + r.IntN(int(now)))
			do(at, func(p *Plan) {
				m, _, err := p.Append(s.name, store.Message{Payload: make([]byte, r.IntN(300))}, store.Retention{})
				if err != nil {
					t.Fatal(err)
				}
				s.n++
				s.used = at // the clock may be set back
				s.size += recordBytes(recordKey(1, 1), appendRecord(nil, recordKey(1, 1), &record{prev: m.Prev, at: int64(at), event: m.Event, data: m.Payload}))
			})
		}
		all = slices.DeleteFunc(all, func(s *said) bool { return s.n == 0 })
		forgotten := all[r.IntN(len(all))]
		do(now, func(p *Plan) {
			if err := p.Forget(forgotten.name); err != nil {
				t.Fatal(err)
			}
		})
		forgotten.n, forgotten.size = 0, 0

		bytes := r.IntN(2) == 0
		weight := func(s *said) uint64 {
			if bytes {
				return s.size
			}
			return 1
		}
		total := map[string]uint64{}
		for _, s := range all {
			total[s.group] += weight(s)
		}
		order := slices.Clone(all)
		slices.SortFunc(order, func(a, b *said) int {
			return cmp.Or(cmp.Compare(total[b.group], total[a.group]), strings.Compare(a.group, b.group), cmp.Compare(a.n, b.n), cmp.Compare(a.used, b.used))
		})
		if slices.ContainsFunc(order, func(s *said) bool { return s.group != order[0].group && total[s.group] == total[order[0].group] }) {
			continue // either may
		}
		need := 1 + r.Uint64N(total[order[0].group]+10)
		want := map[string]bool{}
		for _, s := range all {
			want[s.name] = true
		}
		greatest := order[0].group
		for room := uint64(0); room < need && len(order) > 0; order = order[1:] {
			if s := order[0]; s.group == greatest && weight(s) > 0 && s.used <= now-eviction.Settled {
				delete(want, s.name)
				room += weight(s)
			}
		}
		left := surveyed(t, do, now, bytes, need)
		if len(left) != len(want) || slices.ContainsFunc(left, func(name string) bool { return !want[name] }) {
			t.Fatalf("bytes %t, need %d: got %q left, want %v", bytes, need, left, want)
		}
	}
}

// What is appended to after it was looked at stays.
func TestATopicThatIsAppendedToMeanwhileStays(t *testing.T) {
	do := planned(t)
	do(1, func(p *Plan) { mustAppend(t, p, "a", store.Retention{}) })
	do(2, func(p *Plan) { mustAppend(t, p, "b", store.Retention{}) })
	later := time.Hour
	s := NewSurvey(false, 2)
	do(later, func(p *Plan) { s.Look(p.topics.tx, int64(later), 10) })
	do(later, func(p *Plan) { mustAppend(t, p, "a", store.Retention{}) })
	do(later, func(p *Plan) {
		if !s.Evict(p, 10) {
			t.Error("evict: got that more may go, want that nothing may")
		}
	})
	if n, _ := s.Went(); n != 1 {
		t.Errorf("%d topics went, want b alone", n)
	}
	do(later, func(p *Plan) {
		sweep(t, p, math.MaxInt, math.MaxInt)
		if known, err := p.topics.find("a"); known == nil || err != nil || known.n != 2 {
			t.Errorf("a: got %+v, %v, want both of its messages", known, err)
		}
	})
}

// A topic beyond its share of bytes loses its own oldest messages, and always keeps one.
func TestATopicBeyondItsShareLosesItsOldest(t *testing.T) {
	do := planned(t)
	said := func(name string, size int) {
		do(1, func(p *Plan) {
			p.Bound(Bounds{TopicBytes: 10_000})
			if _, _, err := p.Append(name, store.Message{Payload: make([]byte, size)}, store.Retention{}); err != nil {
				t.Fatal(err)
			}
		})
	}
	said("other", 1_000)
	for range 100 {
		said("a", 1_000)
	}
	said("large", 20_000)
	do(2, func(p *Plan) {
		for name, want := range map[string]int{"other": 1, "a": 9, "large": 1} {
			page, err := Read(p.topics.tx, name, store.Range{}, 2)
			if err != nil || len(page.Messages) != want || page.Complete != (name != "a") {
				t.Errorf("%s: got %d messages, complete %t, %v, want %d", name, len(page.Messages), page.Complete, err, want)
			}
		}
	})
}

func TestAtItsBoundsAPlanRefuses(t *testing.T) {
	do := planned(t)
	do(1, func(p *Plan) {
		p.Bound(Bounds{Topics: 2})
		mustAppend(t, p, "a", store.Retention{})
		mustAppend(t, p, "b", store.Retention{})
		mustAppend(t, p, "a", store.Retention{})
		if _, _, err := p.Append("c", store.Message{}, store.Retention{}); !errors.Is(err, store.ErrFull) {
			t.Errorf("a third topic: got %v, want %v", err, store.ErrFull)
		}
		p.Bound(Bounds{Full: true})
		if _, _, err := p.Append("a", store.Message{}, store.Retention{}); !errors.Is(err, store.ErrFull) {
			t.Errorf("when full: got %v, want %v", err, store.ErrFull)
		}
		if err := p.Forget("a"); err != nil {
			t.Errorf("forget when full: %v", err)
		}
	})
}
