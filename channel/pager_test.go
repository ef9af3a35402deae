package channel

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// A client that does not read joins again and again, in many topics: nothing is
// read for it beyond what finds where each join begins. When it reads at last it is
// sent all that follows the joins that it is still in.
func TestAClientThatNeverReadsCostsAPositionInEachTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const topics, rounds, kept = 10, 20, 100
		h, st, r := stageAt(t, &scripted{}, History{Keep: 1000, Replay: kept})
		h.limits.QueueBytes = 1000 * 150
		r.limits = h.limits
		for topic := range topics {
			for n := range kept {
				if err := h.Broadcast(t.Context(), fmt.Sprint("topic-", topic), "said", map[string]int{"n": n}); err != nil {
					t.Fatal(err)
				}
			}
		}
		r.stick(true)
		ref, last := 0, map[int]int{}
		for range rounds {
			for topic := range topics {
				ref++
				last[topic] = ref
				r.says(t, fmt.Sprintf(`["%d","%d","topic-%d","phx_join",{"@last":%d}]`, ref, ref, topic, kept))
			}
			synctest.Wait()
		}
		if st.reads > topics*rounds {
			t.Errorf("the store was read %d times for %d joins, want no more than that", st.reads, topics*rounds)
		}
		if n := len(r.queue); n > 500+2*topics*rounds {
			t.Errorf("%d messages are queued, want half of the 1000 of its queue, and what answers its joins", n)
		}
		r.stick(false)
		synctest.Wait()
		replayed := map[string]int{} // by join_ref
		for _, s := range r.seen {
			if s.m.Event == "said" {
				replayed[s.to]++
			}
		}
		for topic, ref := range last {
			if n := len(h.members(fmt.Sprint("topic-", topic))); n != 1 || replayed[fmt.Sprint(ref)] != kept {
				t.Errorf("topic %d has %d members, and the last join was replayed %d messages, want 1 and %d", topic, n, replayed[fmt.Sprint(ref)], kept)
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
		"a long one":     {200, []string{"join 1", "join 2", "said", "leave 2 left"}},
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
				r.limits.QueueBytes = 400 * 138 // room for 100
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

// A client that is behind ends while its handler is busy: no more pages are read for
// it, though it stays a member until the handler returns.
func TestNothingIsReadForAClientThatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := &scripted{message: func(ctx context.Context, _ *Socket, _ Message) (any, error) {
			<-ctx.Done()
			return nil, nil
		}}
		h, s, r := stageAt(t, ch, History{Keep: 100_000, Replay: 500})
		r.says(t, `["1","1","a","phx_join",{}]`)
		synctest.Wait()
		r.stick(true)
		broadcast(t, h, 10_000)
		synctest.Wait()
		r.says(t, `["1","2","a","busy",{}]`)
		synctest.Wait()
		before := s.reads
		r.Close(0, "", Vanished)
		synctest.Wait()
		if n := len(h.members("a")); n != 1 {
			t.Fatalf("%d members while the handler is busy, want 1", n)
		}
		if n := s.reads - before; n > 1 {
			t.Errorf("the store was read %d times after the end, want at most once, for the page that was under way", n)
		}
		time.Sleep(leaveWait)
		synctest.Wait()
		ch.wants(t, "join 1", "busy", "leave 1 vanished")
	})
}
