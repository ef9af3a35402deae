package channel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/go-chime/chime/internal/fanout"
	"github.com/go-chime/chime/store"
)

func TestACrowdReadsTheStoreOnce(t *testing.T) {
	for replay, crowd := range map[int]int{50: 10_000, 300: 500} {
		t.Run(fmt.Sprint("replay ", replay), func(t *testing.T) {
			h, s, first := stageAt(t, &scripted{}, History{Keep: 1000, Replay: replay})
			broadcast(t, h, replay)
			s.shut(&s.after)
			readers := []*reader{first}
			for i := range crowd {
				r := newReader(h, fmt.Sprint("reader-", i))
				readers = append(readers, r)
				switch i % 3 {
				case 0:
					r.says(t, `["1","1","a","phx_join",{}]`)
				case 1:
					r.says(t, fmt.Sprintf(`["1","1","a","phx_join",{"@since":{"epoch":%q,"offset":1}}]`, s.Epoch()))
				case 2: // of before a restart
					r.says(t, `["1","1","a","phx_join",{"@since":{"epoch":"foreign","offset":1}}]`)
				}
			}
			s.open(&s.after)
			if err := h.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if s.reads != 1 {
				t.Errorf("got %d reads of the store for %d joins, want 1", s.reads, crowd)
			}
			for i, r := range readers[1:] {
				want := replay
				if i%3 == 1 {
					want--
				}
				if got := len(r.takes()) - 1; got != want {
					t.Fatalf("%s was replayed %d messages, want %d", r.id, got, want)
				}
			}
			if err := h.broker.Erase(t.Context(), "a", 3); err != nil {
				t.Fatal(err)
			}
			for range 10 {
				first.says(t, `["1","1","a","phx_join",{}]`)
				if err := h.Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if s.reads != 2 {
				t.Errorf("got %d reads of the store after something was redacted, want 1 more", s.reads)
			}
			for _, r := range readers {
				r.Close(0, "", Closed)
			}
		})
	}
}

// What a crowd wants may be more than most joins do: after a restart those who
// come back are behind, and a channel may replay large messages.
func TestACrowdThatWantsMoreThanTheTailReadsTheStoreOnce(t *testing.T) {
	for name, c := range map[string]struct {
		history    History
		said, size int
		behind     func(i int) int // nil: no position is asked for
		replayed   func(i int) int
		reads      int // the most
	}{
		"100 behind": {History{Keep: 1000}, 200, 10,
			func(int) int { return 100 }, func(int) int { return 100 }, 2},
		"65 to 500 behind": {History{Keep: 1000}, 600, 10, // a join that is further behind than all before it reads: some 7 of them
			func(i int) int { return 65 + i*277%436 }, func(i int) int { return 65 + i*277%436 }, 30},
		"too far behind": {History{Keep: 1000, Replay: 10}, 600, 10,
			func(int) int { return 599 }, func(int) int { return 10 }, 2},
		"further behind than is kept": {History{Keep: 100, Replay: 10}, 600, 10,
			func(int) int { return 200 }, func(int) int { return 10 }, 2},
		"large messages": {History{Keep: 1000, Replay: 50}, 200, 8 << 10,
			nil, func(int) int { return 50 }, 3},
		"more than a join may get": {History{Keep: 1000, Replay: 500}, 600, 8 << 10,
			nil, func(int) int { return replayBytes / (8 << 10) }, 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				crowd := 1000
				if c.size > 1000 { // which takes as long to look at
					crowd = 100
				}
				h, s, first := stageAt(t, &scripted{}, c.history)
				say := func(n int) {
					for range n {
						if err := h.Broadcast(t.Context(), "a", "said", Binary(padding[:c.size])); err != nil {
							t.Fatal(err)
						}
					}
				}
				say(c.said)
				s.shut(&s.after)
				readers := []*reader{first}
				for i := range crowd {
					r := newReader(h, fmt.Sprint("reader-", i))
					readers = append(readers, r)
					if c.behind == nil {
						r.says(t, `["1","1","a","phx_join",{}]`)
					} else {
						r.says(t, fmt.Sprintf(`["1","1","a","phx_join",{"@since":{"epoch":%q,"offset":%d}}]`, s.Epoch(), c.said-c.behind(i)))
					}
				}
				s.open(&s.after)
				synctest.Wait()
				if s.reads > c.reads {
					t.Errorf("got %d reads of the store for %d joins, want %d", s.reads, crowd, c.reads)
				}
				for i, r := range readers[1:] {
					if got, want := len(r.takes())-1, c.replayed(i); got != want {
						t.Fatalf("%s was replayed %d messages, want %d", r.id, got, want)
					}
				}
				say(1)
				for _, r := range readers[1:] {
					if got := r.takes(); len(got) != 1 {
						t.Fatalf("%s read %d messages, want the one that is live", r.id, len(got))
					}
				}
				for _, r := range readers {
					r.Close(0, "", Closed)
				}
			})
		})
	}
}

// That a position was too far behind is remembered; with less kept it may not be.
func TestAPositionIsCoveredAgainWhenSomethingIsRedacted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, s, r := stageAt(t, &scripted{}, History{Keep: 1000, Replay: 1})
		for range fanout.MaxReplay + 2 {
			broadcast(t, h, 1)
		}
		bystander := newReader(h, "bystander")
		bystander.says(t, `["1","1","a","phx_join",{}]`)
		joins := func(want string) {
			t.Helper()
			r.says(t, fmt.Sprintf(`["1","1","a","phx_join",{"@since":{"epoch":%q,"offset":1}}]`, s.Epoch()))
			synctest.Wait()
			if got := r.takes(); !slices.Contains(got, joinedWith(s, ``+want)) {
				t.Errorf("read %s, want %s", got[0], want)
			}
		}
		joins(`"offset":501,"recovered":false`)
		reads := s.reads
		joins(`"offset":501,"recovered":false`)
		if s.reads != reads {
			t.Error("the store was read again for a position that it does not cover")
		}
		if err := h.broker.Erase(t.Context(), "a", 7); err != nil {
			t.Fatal(err)
		}
		joins(`"offset":1,"recovered":true`)
		bystander.Close(0, "", Closed)
	})
}

// What is in memory of the histories is bounded for all topics together, and goes
// with the last client that is in a topic.
func TestWhatIsInMemoryOfHistoriesIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const topics, kept, size = 100, 128, 8 << 10
		h, _, first := stageAt(t, &scripted{}, History{Keep: kept, Replay: kept})
		budget := h.topics.config.Budget
		var readers []*reader
		for n := range topics {
			topic := fmt.Sprint("topic-", n)
			for range kept {
				if err := h.Broadcast(t.Context(), topic, "said", Binary(padding[:size])); err != nil {
					t.Fatal(err)
				}
			}
			r := newReader(h, topic)
			readers = append(readers, r)
			r.says(t, fmt.Sprintf(`["1","1",%q,"phx_join",{}]`, topic))
			synctest.Wait()
			if got := len(r.takes()) - 1; got != kept {
				t.Fatalf("in %s %d messages were replayed, want %d", topic, got, kept)
			}
			if got := budget.Bytes(); got > tailBytes {
				t.Fatalf("%d bytes are in memory with %d topics, want %d at most", got, n+1, tailBytes)
			}
		}
		if got := budget.Bytes(); got < tailBytes/2 {
			t.Errorf("%d bytes are in memory, want about %d", got, tailBytes)
		}
		for _, r := range readers {
			r.Close(0, "", Closed)
		}
		synctest.Wait()
		if got := budget.Bytes(); got != 0 {
			t.Errorf("%d bytes are in memory for topics nobody is in, want none", got)
		}
		first.Close(0, "", Closed)
	})
}

func TestAJoinGoesOnWithoutItsHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, s, r := stageAt(t, &scripted{}, History{Keep: 10, Replay: 10})
		broadcast(t, h, 2)
		s.fails = 1000
		r.says(t, fmt.Sprintf(`["1","1","a","phx_join",{"@since":{"epoch":%q,"offset":1}}]`, s.Epoch()))
		plain := newReader(h, "plain")
		plain.says(t, `["1","1","a","phx_join",{}]`)
		synctest.Wait()
		s.fails = 0
		broadcast(t, h, 1)
		r.wants(t, joinedWith(s, `"offset":0,"recovered":false`), event(3, 1))
		plain.wants(t, joinedWith(s, `"offset":0,"recovered":false`), event(3, 1))

		other := newReader(h, "other")
		other.says(t, `["1","1","a","phx_join",{}]`)
		synctest.Wait()
		other.wants(t, joinedWith(s, `"offset":0`), event(1, 1), event(2, 2), event(3, 1))
		broadcast(t, h, 1)
		for _, r := range []*reader{r, plain, other} {
			r.wants(t, event(4, 1))
			r.Close(0, "", Closed)
		}
	})
}

// damaged is a store in which one record can't be read.
type damaged struct {
	store.Store
	at uint64
}

func (d *damaged) Read(ctx context.Context, topic string, r store.Range) (store.Page, error) {
	p, err := d.Store.Read(ctx, topic, r)
	if slices.ContainsFunc(p.Messages, func(m store.Message) bool { return m.Offset == d.at }) {
		return store.Page{}, errors.New("disk on fire")
	}
	return p, err
}

// A join that does not need a damaged record notices nothing. One that does is told
// of it, and gets the newest messages that can be read; live messages are complete in
// any case.
func TestADamagedRecordIsToldToWhoNeedsIt(t *testing.T) {
	const kept, replay = 200, 10
	for name, c := range map[string]struct {
		at    uint64
		plain int // how many are replayed without a position
	}{
		"within the tail": {kept - 60, replay},
		"within a replay": {kept - 5, 0},
		"the newest":      {kept, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &damaged{store.NewMemory(), c.at}
				h, r := stageOn(t, s, &scripted{}, History{Keep: kept, Replay: replay})
				for range kept {
					broadcast(t, h, 1)
				}
				bystander := newReader(h, "bystander") // so that the topic stays in memory
				bystander.says(t, `["1","1","a","phx_join",{"@last":0}]`)
				synctest.Wait()
				recovered := ""
				if c.plain == 0 {
					recovered = `,"recovered":false`
				}
				joins := []struct {
					ask, recovered string
					count          int
				}{
					{`{}`, recovered, c.plain},
					{`{"@last":0}`, ``, 0},
					{`{"@last":100}`, `,"recovered":false`, 0},
					{fmt.Sprintf(`{"@since":{"epoch":%q,"offset":%d}}`, s.Epoch(), c.at), `,"recovered":true`, kept - int(c.at)},
					{fmt.Sprintf(`{"@since":{"epoch":%q,"offset":%d}}`, s.Epoch(), c.at-1), `,"recovered":false`, c.plain},
					{fmt.Sprintf(`{"@since":{"epoch":%q,"offset":%d}}`, s.Epoch(), kept), `,"recovered":true`, 0},
				}
				for i := range 2 * len(joins) { // once more, with what is in memory by then
					join := joins[i%len(joins)]
					r.says(t, fmt.Sprintf(`["1","1","a","phx_join",%s]`, join.ask))
					synctest.Wait()
					want := []string{joinedWith(s, fmt.Sprintf(`"offset":%d%s`, kept-join.count, join.recovered))}
					for o := kept - join.count + 1; o <= kept; o++ {
						want = append(want, event(o, 1))
					}
					got := r.takes()
					got = slices.DeleteFunc(got, func(text string) bool { return strings.Contains(text, `"phx_close"`) })
					if !slices.Equal(got, want) {
						t.Errorf("%s: read\n%q, want\n%q", join.ask, got, want)
					}
				}
				broadcast(t, h, replay)
				if got := r.takes(); len(got) != replay {
					t.Errorf("read %q, want %d live messages", got, replay)
				}
				r.says(t, `["1","1","a","phx_join",{}]`)
				synctest.Wait()
				if got := r.takes(); got[0] != joinedWith(s, fmt.Sprintf(`"offset":%d`, kept)) {
					t.Errorf("read %s, want what was said since", got[0])
				}
				if got := bystander.takes(); len(got) != 1+replay {
					t.Errorf("the bystander read %q, want the reply and %d live messages", got, replay)
				}
				bystander.Close(0, "", Closed)
			})
		})
	}
}
