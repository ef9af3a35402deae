package channel

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/store"
)

// unwatched is for a staged store of which nobody keeps account.
type unwatched struct{}

func (unwatched) kept(string, store.Message, store.Retention) {}
func (unwatched) said(string, uint64)                         {}
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
		r.wants(t, joinedWith(s, `"offset":1`), welcome, event(2, 2), event(3, 3), event(4, 1))
		other.wants(t, joinedWith(s, `"offset":3`), welcome, `[null,null,"a","joined",{"id":"reader"}]`, event(4, 1))
		other.Close(0, "", Closed)
	})
}

// slow stages a client that has joined and reads nothing: half of its 100 messages
// fill the part of the queue that what is retained may take.
func slow(t *testing.T, ch Channel, keep int) (*Hub, *staged, *reader) {
	t.Helper()
	h, s, r := stageAt(t, ch, History{Keep: keep, Replay: 100})
	h.limits.QueueBytes = 14_160 // half of it: the reply to the join and 49 messages
	r.limits = h.limits
	broadcast(t, h, 100)
	r.stick(true)
	r.says(t, `["1","1","a","phx_join",{}]`)
	synctest.Wait()
	return h, s, r
}

// waitingMost is how many ephemeral messages wait for a member that is behind.
const waitingMost = 64

func TestASlowJoinerHoldsAPositionNotAQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _, r := slow(t, &scripted{}, 10_000)
		broadcast(t, h, 5000)
		broadcast(t, h, 2*waitingMost, Ephemeral())
		broadcast(t, h, 5)
		if n := len(r.queue); n > 100/2 {
			t.Errorf("%d messages are queued for it, want at most half of the 100 of its queue", n)
		}
		r.stick(false)
		synctest.Wait()
		got := r.takes()[1:]
		if want := 5105 + waitingMost; len(got) != want {
			t.Fatalf("it read %d messages, want %d", len(got), want)
		}
		for i, text := range got[:5105] {
			if !strings.HasPrefix(text, fmt.Sprintf(`[null,"@%d",`, i+1)) {
				t.Fatalf("message %d is %s", i+1, text)
			}
		}
		for i, text := range got[5105:] {
			if want := event(0, waitingMost+i+1); text != want {
				t.Fatalf("of what was not kept it read %s, want %s: the newest, in order", text, want)
			}
		}
		broadcast(t, h, 1)
		if got := r.takes(); len(got) != 1 {
			t.Errorf("at the top it read %q, want one message", got)
		}
	})
}

func TestASlowJoinerThatIsOvertakenIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := &scripted{}
		h, _, r := slow(t, ch, 100)
		broadcast(t, h, 1000)
		r.stick(false)
		synctest.Wait()
		got := r.takes()
		if n := len(got); n != 51 || got[50] != failed("overrun") {
			t.Fatalf("it read %d frames, the last %s, want the 50 that were queued, and to be told", n, got[n-1])
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

// A history that can't be read in the middle of a replay is an error of the
// server's, and no slow client.
func TestAReplayThatCanNotBeReadIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		ch := &scripted{}
		h, s, r := slow(t, ch, 10_000)
		h.log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelInfo}))
		broadcast(t, h, 1000) // so that the next page is not in memory
		s.fails = 1
		r.stick(false)
		synctest.Wait()
		got := r.takes()
		if got[len(got)-1] != failed("history unavailable") {
			t.Errorf("the last that it read is %s, want that the history is unavailable", got[len(got)-1])
		}
		if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "disk on fire") {
			t.Errorf("log: got %q, want the error", log.String())
		}
		ch.wants(t, "join 1", "leave 1 unread")
	})
}

// An ephemeral message that is broadcast while the history is read for a join
// reaches the joiner, once it is live.
func TestAnEphemeralMessageDuringTheReadOfAJoinIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, s, r := stageAt(t, &scripted{}, History{Keep: 1000, Replay: 10})
		broadcast(t, h, 700)
		other := newReader(h, "other")
		other.says(t, `["1","1","a","phx_join",{"@last":0}]`)
		synctest.Wait()
		other.takes()
		s.shut(&s.before)
		r.says(t, fmt.Sprintf(`["1","1","a","phx_join",{"@since":{"epoch":%q,"offset":300}}]`, s.Epoch()))
		synctest.Wait()
		broadcast(t, h, 1, Ephemeral())
		synctest.Wait()
		if got := r.takes(); len(got) > 0 {
			t.Errorf("it read %q before its join was answered", got)
		}
		s.open(&s.before)
		synctest.Wait()
		if got := r.takes(); len(got) != 1+400+1 || got[401] != event(0, 1) {
			t.Errorf("joiner read %d frames, want the reply, 400 and the ephemeral one", len(got))
		}
		if got := other.takes(); len(got) != 1 {
			t.Errorf("other read %q, want the ephemeral message", got)
		}
		other.Close(0, "", Closed)
	})
}

// A live client whose queue has no room for what is retained goes back to its
// position: a burst of any size ends no client that reads, and it gets all of it.
func TestABurstEndsNoClientThatReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _, r := stageAt(t, &scripted{}, History{Keep: 10_000})
		h.limits.QueueBytes = 100 << 10
		r.limits = h.limits
		r.says(t, `["1","1","a","phx_join",{}]`)
		synctest.Wait()
		r.takes()
		r.stick(true)
		for range 3000 {
			if err := h.Broadcast(t.Context(), "a", "said", Binary(padding[:1000])); err != nil {
				t.Fatal(err)
			}
		}
		if r.over() || len(r.queue) > 50 {
			t.Fatalf("ended %t, %d queued, want a live client with half a queue at most", r.over(), len(r.queue))
		}
		// Half of the queue is left for what can't be sent later.
		for i := range 20 {
			r.says(t, fmt.Sprintf(`["1","m%d","a","m",{}]`, i))
			synctest.Wait()
		}
		r.stick(false)
		synctest.Wait()
		var offsets []uint64
		for _, s := range r.seen {
			if s.m.Offset > 0 {
				offsets = append(offsets, s.m.Offset)
			}
		}
		if len(offsets) != 3000 || !slices.IsSorted(offsets) || offsets[0] != 1 || offsets[2999] != 3000 {
			t.Errorf("it read %d retained messages, want 1 to 3000 in order", len(offsets))
		}
		broadcast(t, h, 1)
		if got := r.takes(); len(got) != 3000+20+1 {
			t.Errorf("it read %d frames, want 3000 messages, 20 replies and a live one", len(got))
		}
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
