package channel

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestJoinMessageLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := &scripted{}
		_, r := stage(t, ch)
		r.says(t, `["1","1","a","phx_join",{}]`)
		r.says(t, `["1","2","a","one",{}]`)
		r.says(t, `["1",null,"a","two",{}]`)
		r.says(t, `["1","9","a","phx_leave",{}]`)
		r.says(t, `["1","10","a","late",{}]`)
		r.says(t, `["1","11","a","phx_leave",{}]`)
		synctest.Wait()
		r.wants(t, joinOK, replyOK("2"), leaveOK, closed,
			`[null,"10","a","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`, replyOK("11"))
		ch.wants(t, "join 1", "one", "two", "leave 1 left")
	})
}

func TestASecondJoinReplacesTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := &scripted{}
		h, r := stage(t, ch)
		r.says(t, `["1","1","a","phx_join",{}]`)
		r.says(t, `["2","2","a","phx_join",{}]`)
		r.says(t, `["1","3","a","stale",{}]`)
		r.says(t, `["2","4","a","on",{}]`)
		synctest.Wait()
		r.wants(t, joinOK, `["2","2","a","phx_reply",{"status":"ok","response":{}}]`, closed, `["2","4","a","phx_reply",{"status":"ok","response":{}}]`)
		ch.wants(t, "join 1", "leave 1 replaced", "join 2", "on")
		if n := len(h.members("a")); n != 1 {
			t.Errorf("got %d members, want 1", n)
		}
	})
	t.Run("even if it is refused", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ch := &scripted{join: func(_ context.Context, s *Socket, _ Message) (Accepted, error) {
				if s.joinRef.String() == "2" {
					return Accepted{}, Refuse("no")
				}
				return Accept(nil), nil
			}}
			h, r := stage(t, ch)
			r.says(t, `["1","1","a","phx_join",{}]`)
			r.says(t, `["2","2","a","phx_join",{}]`)
			synctest.Wait()
			r.wants(t, joinOK, `["2","2","a","phx_reply",{"status":"error","response":{"reason":"no"}}]`, closed)
			ch.wants(t, "join 1", "leave 1 replaced", "join 2")
			if n := len(h.members("a")); n != 0 {
				t.Errorf("got %d members, want none", n)
			}
		})
	})
}

func TestARefusalNeedsNoReason(t *testing.T) {
	for name, why := range map[string]error{"of Refuse": Refuse(""), "of a wrapped one": fmt.Errorf("banned: %w", &Error{})} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ch := &scripted{join: func(context.Context, *Socket, Message) (Accepted, error) { return Accept(nil), why }}
				h, r := stage(t, ch)
				r.says(t, `["1","1","a","phx_join",{}]`)
				synctest.Wait()
				r.wants(t, `["1","1","a","phx_reply",{"status":"error","response":{"reason":""}}]`)
				ch.wants(t, "join 1")
				if n := len(h.members("a")); n != 0 {
					t.Errorf("got %d members, want none", n)
				}
			})
		})
	}
}

func TestABlockedHandlerIsCancelled(t *testing.T) {
	for _, test := range []struct {
		name  string
		end   func(t *testing.T, r *reader)
		after time.Duration
		why   string
	}{
		{"5 s after a leave", func(t *testing.T, r *reader) { r.says(t, `["1","9","a","phx_leave",{}]`) }, 5 * time.Second, "left"},
		{"5 s after a leave without join_ref", func(t *testing.T, r *reader) { r.says(t, `[null,"9","a","phx_leave",{}]`) }, 5 * time.Second, "left"},
		{"5 s after its channel had it leave", func(_ *testing.T, r *reader) { r.receiver.(*client).inboxes.find("a").socket.Leave(nil) }, 5 * time.Second, "left"},
		{"5 s after another join", func(t *testing.T, r *reader) { r.says(t, `["9","9","a","phx_join",{}]`) }, 5 * time.Second, "replaced"},
		{"5 s after the client has closed", func(_ *testing.T, r *reader) { r.Close(0, "", Closed) }, 5 * time.Second, "closed"},
		{"5 s after the client fell silent", func(_ *testing.T, r *reader) { r.Close(0, "", Vanished) }, 5 * time.Second, "vanished"},
		{"at once if it was kicked", func(_ *testing.T, r *reader) { r.Close(0, "", Kicked) }, 0, "kicked"},
		{"at once if it was slow", func(_ *testing.T, r *reader) { r.Close(0, "", Slow) }, 0, "slow"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				left := make(chan time.Time, 1)
				ch := &scripted{message: untilCancelled, leave: func(context.Context, *Socket, Reason) { left <- time.Now() }}
				_, r := stage(t, ch)
				r.says(t, `["1","1","a","phx_join",{}]`)
				r.says(t, `["1","2","a","block",{}]`)
				time.Sleep(time.Hour) // it may, as long as its client stays
				ch.wants(t, "join 1", "block")
				began := time.Now()
				test.end(t, r)
				if took := (<-left).Sub(began); took != test.after {
					t.Errorf("left after %v, want %v", took, test.after)
				}
				synctest.Wait()
				ch.wants(t, append([]string{"leave 1 " + test.why}, map[bool][]string{true: {"join 9"}}[test.why == "replaced"]...)...)
			})
		})
	}
}

// A client's mistake must not end what it goes on with.
func TestAStaleLeaveEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := &scripted{message: func(ctx context.Context, _ *Socket, _ Message) (any, error) {
			return nil, context.Cause(ctx)
		}}
		_, r := stage(t, ch)
		r.says(t, `["1","1","a","phx_join",{}]`)
		r.says(t, `["0","2","a","phx_leave",{}]`)
		r.says(t, `["0","3","a","stale",{}]`)
		time.Sleep(time.Minute)
		r.says(t, `["1","4","a","on",{}]`)
		synctest.Wait()
		r.wants(t, joinOK, replyOK("4"))
		ch.wants(t, "join 1", "on")
	})
}

func TestABlockedJoinIsCancelled(t *testing.T) {
	for _, test := range []struct {
		why   Reason
		after time.Duration
	}{{Vanished, 5 * time.Second}, {Closed, 5 * time.Second}, {Kicked, 0}} {
		for _, accepts := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, accepts %t", test.why, accepts), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ended := make(chan time.Time, 1)
					ch := &scripted{join: func(ctx context.Context, _ *Socket, _ Message) (Accepted, error) {
						<-ctx.Done()
						ended <- time.Now()
						if accepts {
							return Accept(nil), nil
						}
						return Accepted{}, ctx.Err()
					}}
					h, r := stage(t, ch)
					r.says(t, `["1","1","a","phx_join",{}]`)
					time.Sleep(time.Hour)
					began := time.Now()
					r.Close(0, "", test.why)
					if took := (<-ended).Sub(began); took != test.after {
						t.Errorf("cancelled after %v, want %v", took, test.after)
					}
					synctest.Wait()
					want := []string{"join 1"}
					if accepts {
						want = append(want, "leave 1 "+string(test.why))
					}
					ch.wants(t, want...)
					if members := h.members("a"); len(members) > 0 {
						t.Errorf("members: got %v, want none", members)
					}
				})
			})
		}
	}
}

// The end may come while the join waits for the leave before it.
func TestAJoinThatBeginsTooLateIsCancelled(t *testing.T) {
	for why, after := range map[Reason]time.Duration{Vanished: 5 * time.Second, Kicked: 0} {
		t.Run(string(why), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var r *reader
				ended := make(chan time.Duration, 1)
				ch := &scripted{}
				ch.join = func(ctx context.Context, s *Socket, _ Message) (Accepted, error) {
					if s.joinRef.String() == "2" {
						began := time.Now()
						<-ctx.Done()
						ended <- time.Since(began)
					}
					return Accept(nil), nil
				}
				ch.leave = func(_ context.Context, _ *Socket, why Reason) {
					if why == Replaced {
						time.Sleep(time.Second)
					}
				}
				_, r = stage(t, ch)
				r.says(t, `["1","1","a","phx_join",{}]`)
				r.says(t, `["2","2","a","phx_join",{}]`)
				synctest.Wait()
				r.Close(0, "", why)
				if took := <-ended; took != after {
					t.Errorf("cancelled after %v, want %v", took, after)
				}
				synctest.Wait()
				ch.wants(t, "join 1", "leave 1 replaced", "join 2", "leave 2 "+string(why))
			})
		})
	}
}

func TestHandleLeaveHasFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		took := make(chan time.Duration, 1)
		ch := &scripted{leave: func(ctx context.Context, s *Socket, _ Reason) {
			if ctx.Value(key{}) != "opened" {
				t.Error("its context has not the values of the client socket")
			}
			if err := s.Broadcast(ctx, "bye", nil); err != nil {
				t.Errorf("broadcast: %v", err)
			}
			if err := s.Push("bye", nil); !errors.Is(err, ErrLeft) {
				t.Errorf("push: got %v, want %v", err, ErrLeft)
			}
			began := time.Now()
			<-ctx.Done()
			took <- time.Since(began)
		}}
		h, r := stage(t, ch)
		r.ctx = context.WithValue(r.ctx, key{}, "opened")
		other := newReader(h, "other")
		other.says(t, `["1","1","a","phx_join",{}]`)
		synctest.Wait()
		r.says(t, `["1","1","a","phx_join",{}]`)
		r.says(t, `["1","9","a","phx_leave",{}]`)
		if d := <-took; d != 5*time.Second {
			t.Errorf("HandleLeave's context ended after %v, want 5 s", d)
		}
		synctest.Wait()
		r.wants(t, joinOK, leaveOK, closed)
		other.wants(t, joinOK, `[null,null,"a","bye",{}]`)
		ch.leave = nil
		other.Close(0, "", Closed)
		synctest.Wait()
	})
}

func TestWhatWasSentBeforeTheEndIsHandled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := &scripted{message: func(context.Context, *Socket, Message) (any, error) {
			time.Sleep(time.Second)
			return nil, nil
		}}
		_, r := stage(t, ch)
		r.says(t, `["1","1","a","phx_join",{}]`)
		r.says(t, `["1","2","a","one",{}]`)
		r.says(t, `["1","3","a","two",{}]`)
		r.Close(0, "", Vanished)
		time.Sleep(time.Minute)
		ch.wants(t, "join 1", "one", "two", "leave 1 vanished")
	})
	t.Run("but not if it was kicked", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ch := &scripted{message: untilCancelled}
			_, r := stage(t, ch)
			r.says(t, `["1","1","a","phx_join",{}]`)
			r.says(t, `["1","2","a","block",{}]`)
			synctest.Wait()
			r.says(t, `["1","3","a","two",{}]`)
			r.Close(0, "", Kicked)
			synctest.Wait()
			ch.wants(t, "join 1", "block", "leave 1 kicked")
		})
	})
}

func TestAnInboxThatOverflowsEndsThatTopicOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := &scripted{message: untilCancelled}
		h, r := stage(t, ch)
		other := newReader(h, "other")
		other.says(t, `["1","1","a","phx_join",{}]`)
		r.says(t, `["1","1","a","phx_join",{}]`)
		synctest.Wait()
		r.says(t, `["2","2","b","phx_join",{}]`)
		synctest.Wait()
		r.says(t, `["1","3","a","block",{}]`)
		synctest.Wait()
		ch.wants(t, "join 1", "join 1", "join 2", "block")
		r.takes()
		for range 8 {
			r.says(t, `["1","4","a","waits",{}]`)
		}
		synctest.Wait()
		r.wants(t)
		r.says(t, `["1","5","a","too much",{}]`)
		synctest.Wait()
		r.wants(t, failed("overloaded"))
		ch.wants(t, "leave 1 slow")
		r.says(t, `["2","6","b","on",{}]`)
		synctest.Wait()
		r.says(t, `["7","7","a","phx_join",{}]`)
		synctest.Wait()
		r.wants(t, `["2","6","b","phx_reply",{"status":"ok","response":{}}]`, `["7","7","a","phx_reply",{"status":"ok","response":{}}]`)
		ch.wants(t, "on", "join 7")
		if err := h.Broadcast(t.Context(), "a", "news", nil); err != nil {
			t.Error(err)
		}
		other.wants(t, joinOK, `[null,null,"a","news",{}]`)
		r.wants(t, `[null,null,"a","news",{}]`)
		other.Close(0, "", Closed)
	})
	t.Run("while it joins", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ch := &scripted{join: func(ctx context.Context, _ *Socket, _ Message) (Accepted, error) {
				<-ctx.Done()
				return Accept(nil), nil
			}}
			h, r := stage(t, ch)
			r.says(t, `["1","1","a","phx_join",{}]`)
			synctest.Wait()
			for range 9 {
				r.says(t, `["1","2","a","waits",{}]`)
			}
			synctest.Wait()
			r.wants(t, joinOK, failed("overloaded"))
			ch.wants(t, "join 1", "leave 1 slow")
			if members := h.members("a"); len(members) > 0 {
				t.Errorf("members: got %v, want none", members)
			}
		})
	})
	t.Run("but never the join that waits in it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ch := &scripted{
				join: func(context.Context, *Socket, Message) (Accepted, error) {
					time.Sleep(time.Second)
					return Accept(nil), nil
				},
				leave: func(context.Context, *Socket, Reason) { time.Sleep(time.Second) },
			}
			h, r := stage(t, ch)
			h.limits.Topics = 2
			for _, ref := range []string{"1", "2", "3"} {
				r.says(t, `["`+ref+`","`+ref+`","a","phx_join",{}]`)
			}
			for range 20 {
				r.says(t, `["3","4","a","waits",{}]`)
			}
			time.Sleep(time.Minute)
			full, waits := 0, 0
			for _, text := range r.takes() {
				switch text {
				case `["3","4","a","phx_reply",{"status":"error","response":{"reason":"overloaded"}}]`:
					full++
				case `["3","4","a","phx_reply",{"status":"ok","response":{}}]`:
					waits++
				}
			}
			if full+waits != 20 || waits < 5 {
				t.Errorf("of 20 messages got %d answered, %d refused, want each to be one of them", waits, full)
			}
			ch.wants(t, append([]string{"join 1", "leave 1 replaced", "join 2", "leave 2 replaced", "join 3"}, slices.Repeat([]string{"waits"}, waits)...)...)
			ch.join, ch.leave = nil, nil
			r.says(t, `["5","5","b","phx_join",{}]`)
			synctest.Wait()
			r.wants(t, `["5","5","b","phx_reply",{"status":"ok","response":{}}]`)
		})
	})
	t.Run("by bytes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ch := &scripted{message: untilCancelled}
			h, r := stage(t, ch)
			h.limits.InboxBytes = 1000
			r.says(t, `["1","1","a","phx_join",{}]`)
			big := `["1","3","a","big",{"pad":"` + strings.Repeat("x", 600) + `"}]`
			for range 5 { // what is handled takes no room
				r.says(t, big)
				synctest.Wait()
			}
			r.wants(t, joinOK, replyOK("3"), replyOK("3"), replyOK("3"), replyOK("3"), replyOK("3"))
			ch.wants(t, "join 1", "big", "big", "big", "big", "big")
			r.says(t, `["1","2","a","block",{}]`)
			synctest.Wait()
			r.says(t, `["1","3","a","small",{}]`)
			r.says(t, big)
			synctest.Wait()
			r.wants(t)
			r.says(t, big)
			synctest.Wait()
			r.wants(t, failed("overloaded"))
			ch.wants(t, "block", "leave 1 slow")
		})
	})
}

// crashes are the ways in which a handler does not return. The second is that of
// t.FailNow, and can't be recovered from.
var crashes = map[string]func(){
	"panic":          func() { panic("boom") },
	"runtime.Goexit": runtime.Goexit,
}

func TestACrashEndsThatJoinOnly(t *testing.T) {
	for name, crash := range crashes {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ch := &scripted{
					join: func(_ context.Context, s *Socket, _ Message) (Accepted, error) {
						if s.joinRef.String() == "0" {
							crash()
						}
						return Accept(nil), nil
					},
					message: func(_ context.Context, _ *Socket, m Message) (any, error) {
						if m.Event == "boom" {
							crash()
						}
						return nil, nil
					},
					leave: func(context.Context, *Socket, Reason) { crash() },
				}
				h, r := stage(t, ch)
				r.says(t, `["0","0","a","phx_join",{}]`)
				r.says(t, `["1","1","a","phx_join",{}]`)
				r.says(t, `["1","2","a","boom",{}]`)
				r.says(t, `["1","3","a","after",{}]`)
				r.says(t, `["1","1","a","phx_join",{}]`)
				r.says(t, `["2","2","a","phx_join",{}]`)
				synctest.Wait()
				r.says(t, `["0","0","a","phx_join",{}]`) // is answered before the end of the join it replaces
				r.says(t, `["1","1","a","phx_join",{}]`)
				r.says(t, `["1","9","a","phx_leave",{}]`)
				synctest.Wait()
				const crashed = `["0","0","a","phx_reply",{"status":"error","response":{"reason":"join crashed"}}]`
				r.wants(t,
					crashed,
					joinOK, failed("channel_crash"),
					`[null,"3","a","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`,
					joinOK, `["2","2","a","phx_reply",{"status":"ok","response":{}}]`, closed,
					crashed, `["2","2","a","phx_close",{}]`,
					joinOK, leaveOK, closed)
				ch.wants(t, "join 0", "join 1", "boom", "leave 1 panicked",
					"join 1", "leave 1 replaced", "join 2",
					"leave 2 replaced", "join 0", "join 1", "leave 1 left")
				if members := h.members("a"); len(members) > 0 || h.topics.find("a") != nil {
					t.Errorf("members: got %v, want none and no topic", members)
				}
			})
		})
	}
}

// crashing is a reply whose encoding crashes.
type crashing struct{ crash func() }

func (c crashing) MarshalJSON() ([]byte, error) {
	c.crash()
	return nil, nil
}

func TestAReplyThatCrashesEndsThatJoinOnly(t *testing.T) {
	for name, crash := range crashes {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ch := &scripted{
					join: func(_ context.Context, s *Socket, _ Message) (Accepted, error) {
						if s.joinRef.String() == "0" {
							return Accept(crashing{crash}), nil
						}
						return Accept(nil), nil
					},
					message: func(context.Context, *Socket, Message) (any, error) { return crashing{crash}, nil },
				}
				_, r := stage(t, ch)
				r.says(t, `["0","0","a","phx_join",{}]`)
				r.says(t, `["1","1","a","phx_join",{}]`)
				r.says(t, `["1","2","a","boom",{}]`)
				r.says(t, `["1","1","a","phx_join",{}]`)
				synctest.Wait()
				r.wants(t, `["0","0","a","phx_reply",{"status":"error","response":{"reason":"internal"}}]`,
					joinOK, failed("channel_crash"), joinOK)
				ch.wants(t, "join 0", "leave 0 panicked", "join 1", "boom", "leave 1 panicked", "join 1")
			})
		})
	}
}
