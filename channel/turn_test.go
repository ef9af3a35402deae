package channel

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

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
