package channel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/store"
)

// unwatched is for a staged store of which nobody keeps account.
type unwatched struct{}

func (unwatched) kept(string, store.Message, store.Retention) {}
func (unwatched) said(string)                                 {}
func (unwatched) forgot(string)                               {}
func (unwatched) redacted(string, uint64)                     {}

func broadcast(t testing.TB, h *Hub, n int, options ...SendOption) {
	t.Helper()
	for i := range n {
		if err := h.Broadcast(t.Context(), "a", fmt.Sprintf("event-%d", i+1), nil, options...); err != nil {
			t.Fatal(err)
		}
	}
}

func event(offset, n int) string {
	if offset == 0 {
		return fmt.Sprintf(`[null,null,"a","event-%d",{}]`, n)
	}
	return fmt.Sprintf(`[null,"@%d","a","event-%d",{}]`, offset, n)
}

func joinedWith(s store.Store, history string) string {
	return fmt.Sprintf(`["1","1","a","phx_reply",{"status":"ok","response":{"@history":{"epoch":"%s",%s}}}]`, s.Epoch(), history)
}

// stageAt is a stage on a staged store, whose gates are open at the end.
func stageAt(t *testing.T, ch Channel, history History) (*Hub, *staged, *reader) {
	t.Helper()
	s := newStaged(unwatched{}, store.NewMemory())
	h, r := stageOn(t, s, ch, history)
	t.Cleanup(func() {
		s.open(&s.before)
		s.open(&s.after)
	})
	return h, s, r
}

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
			if err := h.Redact(t.Context(), "a", 3); err != nil {
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
		"65 to 500 behind": {History{Keep: 1000}, 600, 10, // who is further behind than all before it reads: some 7 of them
			func(i int) int { return 65 + i*277%436 }, func(i int) int { return 65 + i*277%436 }, 30},
		"too far behind": {History{Keep: 1000, Replay: 10}, 600, 10,
			func(int) int { return 599 }, func(int) int { return 10 }, 2},
		"further behind than is kept": {History{Keep: 100, Replay: 10}, 600, 10,
			func(int) int { return 200 }, func(int) int { return 10 }, 2},
		"large messages": {History{Keep: 1000, Replay: 50}, 200, 8 << 10,
			nil, func(int) int { return 50 }, 3},
		"more than a join may get": {History{Keep: 1000, Replay: 500}, 600, 8 << 10,
			nil, func(int) int { return maxReplayBytes / (8 << 10) }, 3},
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
				time.Sleep(wideTime)
				synctest.Wait()
				top := h.find("a")
				top.mu.Lock()
				if n := len(top.tail.entries); n > max(minTail, c.history.Replay) || top.tail.bytes > maxTailBytes || h.wide.Load() != 0 {
					t.Errorf("when nobody has come for a while it holds %d messages of %d bytes, and %d are accounted for; want what every topic may", n, top.tail.bytes, h.wide.Load())
				}
				top.mu.Unlock()
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
		for range maxReplay + 2 {
			broadcast(t, h, 1)
		}
		bystander := newReader(h, "bystander")
		bystander.says(t, `["1","1","a","phx_join",{}]`)
		joins := func(want string) {
			t.Helper()
			r.says(t, fmt.Sprintf(`["1","1","a","phx_join",{"@since":{"epoch":%q,"offset":1}}]`, s.Epoch()))
			synctest.Wait()
			if got := r.takes(); !slices.Contains(got, joinedWith(s, `"offset":502,`+want)) {
				t.Errorf("read %s, want %s", got[0], want)
			}
		}
		joins(`"count":1,"recovered":false`)
		reads := s.reads
		joins(`"count":1,"recovered":false`)
		if s.reads != reads {
			t.Error("the store was read again for a position that it does not cover")
		}
		if err := h.Redact(t.Context(), "a", 7); err != nil {
			t.Fatal(err)
		}
		joins(`"count":500,"recovered":true`)
		bystander.Close(0, "", Closed)
	})
}

// What is held for crowds is bounded for all topics together, and goes with the
// last who is in a topic.
func TestWhatIsHeldForCrowdsIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const topics, kept, size = 100, 128, 8 << 10
		h, _, first := stageAt(t, &scripted{}, History{Keep: kept, Replay: kept})
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
		}
		if got := h.wide.Load(); got > maxWideBytes || got < maxWideBytes/2 {
			t.Errorf("%d bytes are held beyond what every topic may, want about %d", got, maxWideBytes)
		}
		for _, r := range readers {
			r.Close(0, "", Closed)
		}
		synctest.Wait()
		if got := h.wide.Load(); got != 0 {
			t.Errorf("%d bytes are held for topics nobody is in, want none", got)
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
		r.wants(t, joinedWith(s, `"offset":0,"count":0,"recovered":false`), event(3, 1))
		plain.wants(t, joinedWith(s, `"offset":0,"count":0,"recovered":false`), event(3, 1))

		other := newReader(h, "other")
		other.says(t, `["1","1","a","phx_join",{}]`)
		synctest.Wait()
		other.wants(t, joinedWith(s, `"offset":3,"count":3`), event(1, 1), event(2, 2), event(3, 1))
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

// Who does not need what is damaged does not notice. Who does is told, and gets
// the newest, if it can be read; what is live is complete in any case.
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
				told := ""
				if c.plain == 0 {
					told = `,"recovered":false`
				}
				joins := []struct {
					ask, told string
					count     int
				}{
					{`{}`, told, c.plain},
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
					want := []string{joinedWith(s, fmt.Sprintf(`"offset":%d,"count":%d%s`, kept, join.count, join.told))}
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
				if got := r.takes(); got[0] != joinedWith(s, fmt.Sprintf(`"offset":%d,"count":%d`, kept+replay, replay)) {
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

func TestAKickDoesNotWaitForTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := &scripted{}
		h, s, r := stageAt(t, ch, History{Keep: 10, Replay: 10})
		broadcast(t, h, 2)
		s.shut(&s.before)
		other := newReader(h, "other")
		other.says(t, `["2","2","a","phx_join",{}]`) // reads for both
		synctest.Wait()
		r.says(t, `["1","1","a","phx_join",{}]`)
		synctest.Wait()
		ch.wants(t, "join 2", "join 1")
		r.Close(0, "", Kicked)
		synctest.Wait()
		ch.wants(t, "leave 1 kicked")
		s.open(&s.before)
		other.Close(0, "", Closed)
	})
	t.Run("nor is it called slow", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ch := &scripted{message: func(ctx context.Context, _ *Socket, _ Message) (any, error) {
				<-ctx.Done()
				time.Sleep(time.Second) // so that the store is heard of before the end
				return nil, nil
			}}
			h, s, r := slow(t, ch, 10_000)
			broadcast(t, h, 1000) // so that the next page is not in memory
			r.says(t, `["1","2","a","block",{}]`)
			s.shut(&s.before)
			r.stick(false)
			synctest.Wait()
			r.Close(0, "", Kicked)
			s.open(&s.before)
			time.Sleep(time.Minute)
			ch.wants(t, "join 1", "block", "leave 1 kicked")
		})
	})
}

func TestReplyThenPushesThenReplayThenLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := &scripted{join: func(ctx context.Context, s *Socket, _ Message) (Accepted, error) {
			if err := s.Push("welcome", nil); err != nil {
				return Accepted{}, err
			}
			return Accept(nil), s.Broadcast(ctx, "joined", map[string]string{"id": s.ID()}, Ephemeral())
		}}
		h, s, r := stageAt(t, ch, History{Keep: 10, Replay: 2})
		broadcast(t, h, 3)
		other := newReader(h, "other")
		other.says(t, `["1","1","a","phx_join",{"@last":0}]`)
		synctest.Wait()
		r.says(t, `["1","1","a","phx_join",{}]`)
		synctest.Wait()
		broadcast(t, h, 1)
		welcome := `["1",null,"a","welcome",{}]`
		r.wants(t, joinedWith(s, `"offset":3,"count":2`), welcome, event(2, 2), event(3, 3), event(4, 1))
		other.wants(t, joinedWith(s, `"offset":3,"count":0`), welcome, `[null,null,"a","joined",{"id":"reader"}]`, event(4, 1))
		other.Close(0, "", Closed)
	})
}

// slow stages a client that has joined and reads nothing: 26 of its 100
// messages fill the part of the queue that a replay may take.
func slow(t *testing.T, ch Channel, keep int) (*Hub, *staged, *reader) {
	t.Helper()
	h, s, r := stageAt(t, ch, History{Keep: keep, Replay: 100})
	h.limits.QueueMessages = 100
	r.limits = h.limits
	broadcast(t, h, 100)
	r.stick(true)
	r.says(t, `["1","1","a","phx_join",{}]`)
	synctest.Wait()
	return h, s, r
}

func TestASlowJoinerHoldsAPositionNotAQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _, r := slow(t, &scripted{}, 10_000)
		broadcast(t, h, 5000)
		broadcast(t, h, 2*maxPending, Ephemeral())
		broadcast(t, h, 5)
		if n := len(r.queue); n > 100/4+1 {
			t.Errorf("%d messages are queued for it, want at most a quarter of the 100 of its queue, and one", n)
		}
		r.stick(false)
		synctest.Wait()
		got := r.takes()[1:]
		if want := 5105 + maxPending; len(got) != want {
			t.Fatalf("it read %d messages, want %d", len(got), want)
		}
		for i, text := range got[:5105] {
			if !strings.HasPrefix(text, fmt.Sprintf(`[null,"@%d",`, i+1)) {
				t.Fatalf("message %d is %s", i+1, text)
			}
		}
		for i, text := range got[5105:] {
			if want := event(0, maxPending+i+1); text != want {
				t.Fatalf("of what was not kept it read %s, want %s: the newest, in order", text, want)
			}
		}
		broadcast(t, h, 1)
		if got := r.takes(); len(got) != 1 {
			t.Errorf("at the top it read %q, want one message", got)
		}
	})
}

// A client that does not read joins again and again, in many topics: whatever is
// read for it, one list of it is held. When it reads at last it gets all that
// it was promised in the joins that it is still in.
func TestAClientThatNeverReadsHoldsOneReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const topics, rounds, kept = 10, 20, 100
		var sockets []*Socket
		var mu sync.Mutex // guards sockets
		ch := &scripted{join: func(_ context.Context, s *Socket, _ Message) (Accepted, error) {
			mu.Lock()
			defer mu.Unlock()
			sockets = append(sockets, s)
			return Accept(nil), nil
		}}
		h, _, r := stageAt(t, ch, History{Keep: 1000, Replay: kept})
		h.limits.QueueMessages = 1000
		r.limits = h.limits
		for topic := range topics {
			for n := range kept {
				if err := h.Broadcast(t.Context(), fmt.Sprint("topic-", topic), "said", map[string]int{"n": n}); err != nil {
					t.Fatal(err)
				}
			}
		}
		r.stick(true)
		ref := 0
		for round := range rounds {
			for topic := range topics {
				ref++
				r.says(t, fmt.Sprintf(`["%d","%d","topic-%d","phx_join",{"@last":%d}]`, ref, ref, topic, kept))
			}
			synctest.Wait()
			mu.Lock()
			holding := 0
			for _, s := range sockets {
				if s.replay != nil && len(s.replay.list) > 0 {
					holding++
				}
			}
			mu.Unlock()
			if holding > 1 {
				t.Fatalf("after %d joins in each topic, %d sockets hold what was read for them, want 1 at most", round+1, holding)
			}
		}
		r.stick(false)
		synctest.Wait()
		replayed := map[string]int{} // by join_ref
		for _, s := range r.seen {
			if s.m.Event == "said" {
				replayed[s.to]++
			}
		}
		for topic := range topics {
			members := h.find(fmt.Sprint("topic-", topic)).members
			if len(members) != 1 || replayed[members[0].joinRef.String()] != kept {
				t.Errorf("topic %d has %d members, and the last got %d messages, want 1 and %d", topic, len(members), replayed[members[0].joinRef.String()], kept)
			}
		}
	})
}

// One topic of a client has much for it that it does not read. It gets into another
// one all the same, whose handlers wait for nothing, and out of it.
func TestAnUnreadReplayHoldsUpItsTopicOnly(t *testing.T) {
	for name, want := range map[string]struct {
		last  int // of those in b
		calls []string
	}{
		"a short replay": {3, []string{"join 1", "join 2", "said", "leave 2 left"}},
		"a long one":     {200, []string{"join 1", "join 2", "said", "leave 2 left"}}, // its reply waits, and what was sent behind it
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ch := &scripted{}
				h, s, r := stageAt(t, ch, History{Keep: 1000, Replay: 50})
				broadcast(t, h, 500)
				for range 300 {
					if err := h.Broadcast(t.Context(), "b", "e", nil); err != nil {
						t.Fatal(err)
					}
				}
				r.limits.QueueMessages = 400 // room for 100
				r.stick(true)
				r.says(t, `["1","1","a","phx_join",{"@last":500}]`)
				synctest.Wait()
				before := s.reads
				r.says(t, fmt.Sprintf(`["2","2","b","phx_join",{"@last":%d}]`, want.last))
				r.says(t, `["2","3","b","said",{}]`)
				time.Sleep(time.Second)
				synctest.Wait()
				began := time.Now()
				r.says(t, `["2","4","b","phx_leave",{}]`)
				synctest.Wait()
				if took := time.Since(began); took != 0 {
					t.Errorf("the leave of b waits for %v", took)
				}
				ch.wants(t, want.calls...)
				if reads := s.reads - before; reads > 1 {
					t.Errorf("the store was read %d times for b, want at most once, for its tail", reads)
				}
			})
		})
	}
}

func TestASlowJoinerThatIsOvertakenIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := &scripted{}
		h, _, r := slow(t, ch, 100)
		broadcast(t, h, 1000)
		r.stick(false)
		synctest.Wait()
		got := r.takes()
		if n := len(got); n != 102 || got[101] != failed("overrun") {
			t.Fatalf("it read %d frames, the last %s, want a reply, 100 messages, and to be told", n, got[n-1])
		}
		ch.wants(t, "join 1", "leave 1 slow")
		broadcast(t, h, 1)
		r.wants(t)
		r.says(t, `["2","2","a","phx_join",{"@last":1}]`)
		synctest.Wait()
		if got := r.takes(); len(got) != 2 || !strings.HasPrefix(got[1], `[null,"@1101",`) {
			t.Errorf("joined again it read %q", got)
		}
	})
	t.Run("and what it had sent is answered", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ch := &scripted{message: untilCancelled}
			h, _, r := slow(t, ch, 100)
			r.says(t, `["1","2","a","block",{}]`)
			synctest.Wait()
			r.says(t, `["1","3","a","waits",{}]`)
			r.says(t, `["1","9","a","phx_leave",{}]`)
			broadcast(t, h, 1000)
			r.stick(false)
			synctest.Wait()
			got := r.takes()
			want := []string{failed("overrun"), `[null,"3","a","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`, leaveOK}
			if got := got[len(got)-3:]; strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("in the end it read\n%q, want\n%q", got, want)
			}
			ch.wants(t, "join 1", "block", "leave 1 slow")
		})
	})
}

func TestNothingFollowsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		ch := &scripted{message: func(context.Context, *Socket, Message) (any, error) {
			<-release // and does not look at its context
			return nil, nil
		}}
		h, r := stage(t, ch)
		r.says(t, `["1","1","a","phx_join",{}]`)
		r.says(t, `["1","2","a","block",{}]`)
		synctest.Wait()
		for range 9 {
			r.says(t, `["1","3","a","waits",{}]`)
		}
		r.wants(t, joinOK, failed("overloaded"))
		broadcast(t, h, 1)
		r.wants(t)
		time.Sleep(time.Minute)
		close(release)
		synctest.Wait()
		r.wants(t)
		ch.wants(t, "join 1", "block", "leave 1 slow")
	})
}
