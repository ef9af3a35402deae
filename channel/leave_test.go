package channel

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
)

// leaving is a channel that has its client leave: in the handling of "leave",
// which is answered, and of a join with the join_ref "0".
func leaving(why error) *scripted {
	return &scripted{
		join: func(_ context.Context, s *Socket, _ Message) (Accepted, error) {
			if s.joinRef.String() == "0" {
				s.Leave(why)
			}
			return Accept(nil), s.Push("joined", nil)
		},
		message: func(_ context.Context, s *Socket, m Message) (any, error) {
			if m.Event == "leave" {
				s.Leave(why)
				s.Leave(nil)                   // is too late
				return nil, s.Push("bye", nil) // is not
			}
			return nil, nil
		},
		leave: func(_ context.Context, s *Socket, _ Reason) { s.Leave(why) },
	}
}

func TestAChannelHasItsClientLeave(t *testing.T) {
	for why, end := range map[error]string{
		nil:                             closed,
		Refuse("moved"):                 failed("moved"),
		fmt.Errorf("a secret"):          failed("internal"),
		fmt.Errorf("x: %w", &Error{""}): failed(""),
	} {
		t.Run(fmt.Sprint(why), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ch := leaving(why)
				h, r := stage(t, ch)
				ours, theirs := newReader(h, "ours"), `["1",null,"a","joined",{}]`
				ours.says(t, `["1","1","a","phx_join",{}]`)
				r.says(t, `["1","1","a","phx_join",{}]`)
				synctest.Wait()
				r.says(t, `["1","2","a","leave",{}]`)
				r.says(t, `["1","3","a","behind",{}]`)
				r.says(t, `["1","9","a","phx_leave",{}]`)
				synctest.Wait()
				r.wants(t, joinOK, theirs, `["1",null,"a","bye",{}]`, replyOK("2"), end,
					`[null,"3","a","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`, leaveOK)
				ch.wants(t, "join 1", "join 1", "leave", "leave 1 left")
				if err := h.Broadcast(t.Context(), "a", "news", nil); err != nil {
					t.Error(err)
				}
				ours.wants(t, joinOK, theirs, `[null,null,"a","news",{}]`)
				r.wants(t)
				ours.Close(0, "", Closed)
			})
		})
	}
	t.Run("while it joins", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ch := leaving(nil)
			h, r := stage(t, ch)
			r.says(t, `["0","0","a","phx_join",{}]`)
			r.says(t, `["0","1","a","behind",{}]`)
			synctest.Wait()
			r.wants(t, `["0","0","a","phx_reply",{"status":"ok","response":{}}]`, `["0",null,"a","joined",{}]`, `["0","0","a","phx_close",{}]`,
				`[null,"1","a","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`)
			ch.wants(t, "join 0", "leave 0 left")
			if len(h.members("a")) > 0 || r.receiver.(*client).seats > 0 {
				t.Error("it is still there")
			}
		})
	})
	t.Run("but not if it is refused", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ch := &scripted{join: func(_ context.Context, s *Socket, _ Message) (Accepted, error) {
				s.Leave(nil)
				if s.joinRef.String() == "0" {
					return Accepted{}, Refuse("no")
				}
				return Accept(nil), nil
			}}
			_, r := stage(t, ch)
			r.says(t, `["0","0","a","phx_join",{}]`)
			r.says(t, `["1","1","a","phx_join",{}]`)
			synctest.Wait()
			r.wants(t, `["0","0","a","phx_reply",{"status":"error","response":{"reason":"no"}}]`, joinOK, closed)
			ch.wants(t, "join 0", "join 1", "leave 1 left")
		})
	})
}

// The first that ends a join decides the reason.
func TestAChannelHasAClientLeaveThatGoes(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(t *testing.T, r *reader)
		why  Reason
		sees []string
	}{
		{"it was kicked", func(_ *testing.T, r *reader) { r.Close(0, "", Kicked) }, Kicked, nil},
		{"it has closed", func(_ *testing.T, r *reader) { r.Close(0, "", Closed) }, Closed, nil},
		{"it leaves", func(t *testing.T, r *reader) { r.says(t, `["1","9","a","phx_leave",{}]`) }, Left, []string{replyOK("2"), leaveOK, closed}},
		{"it sent more than is handled", func(t *testing.T, r *reader) {
			for range 9 {
				r.says(t, `["1",null,"a","more",{}]`)
			}
		}, Slow, []string{failed("overloaded")}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				proceed := make(chan struct{})
				ch := &scripted{message: func(_ context.Context, s *Socket, _ Message) (any, error) {
					<-proceed
					s.Leave(Refuse("moved"))
					return nil, nil
				}}
				_, r := stage(t, ch)
				r.says(t, `["1","1","a","phx_join",{}]`)
				r.says(t, `["1","2","a","one",{}]`)
				synctest.Wait()
				test.end(t, r)
				synctest.Wait()
				close(proceed)
				synctest.Wait()
				ch.wants(t, "join 1", "one", "leave 1 "+string(test.why))
				r.wants(t, append([]string{joinOK}, test.sees...)...)
			})
		})
	}
	t.Run("its client has sent more, and then closed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ch := leaving(nil)
			_, r := stage(t, ch)
			r.says(t, `["1","1","a","phx_join",{}]`)
			r.says(t, `["1","2","a","leave",{}]`)
			r.says(t, `["1","3","a","behind",{}]`)
			r.Close(0, "", Vanished)
			synctest.Wait()
			ch.wants(t, "join 1", "leave", "leave 1 left")
		})
	})
}

// A join waits behind a slow handler, and so much behind it that there is no room
// for its leave. A client that reads that it has left is no member.
func TestALeaveThatFindsAFullInboxIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		ch := &scripted{message: func(context.Context, *Socket, Message) (any, error) { <-gate; return nil, nil }}
		h, r := stage(t, ch) // with room for 8
		r.says(t, `["1","1","a","phx_join",{}]`)
		r.says(t, `["1","2","a","slow",{}]`)
		synctest.Wait()
		r.says(t, `["1","3","a","phx_leave",{}]`)
		r.says(t, `["5","5","a","phx_join",{}]`)
		for i := range 6 {
			r.says(t, fmt.Sprintf(`["5","%d","a","more",{}]`, 10+i))
		}
		r.takes()
		r.says(t, `["5","98","a","phx_leave",{}]`)
		r.says(t, `["5","99","a","phx_leave",{}]`)
		synctest.Wait()
		r.wants(t, `["5","99","a","phx_reply",{"status":"ok","response":{}}]`)
		close(gate)
		synctest.Wait()
		got := r.takes()
		want := []string{`["5","98","a","phx_reply",{"status":"ok","response":{}}]`, `["5","5","a","phx_close",{}]`}
		if len(got) < 2 || !slices.Equal(got[len(got)-2:], want) {
			t.Errorf("got %q at the end, want %q", got, want)
		}
		if n := len(h.members("a")); n > 0 {
			t.Errorf("a client that has left is one of %d members", n)
		}
	})
}
