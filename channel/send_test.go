package channel

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/store"
)

// What no client can join must not get into a history: it could be read by
// nobody, and a file with it can't be exported.
func TestATopicThatNobodyCanJoinIsNotBroadcastTo(t *testing.T) {
	s := store.NewMemory()
	h, r := stageOn(t, s, &scripted{}, History{Keep: 10})
	for _, topic := range []string{"", strings.Repeat("x", 300), "a\nb", "\xff", "phoenix", "chime"} {
		if err := h.Broadcast(t.Context(), topic, "e", nil); !errors.Is(err, ErrNoChannel) {
			t.Errorf("broadcast to %.20q: got error %v, want %v", topic, err, ErrNoChannel)
		}
		if _, _, err := h.History(t.Context(), topic, 1); !errors.Is(err, ErrNoChannel) {
			t.Errorf("history of %.20q: got error %v, want %v", topic, err, ErrNoChannel)
		}
		if p, err := s.Read(t.Context(), topic, store.Range{}); err != nil || len(p.Messages) > 0 {
			t.Errorf("%.20q: %d messages are retained (%v), want none", topic, len(p.Messages), err)
		}
	}
	r.Close(0, "", Closed)
}

// Push and Reply return ErrLeft whichever way the client went.
func TestWhatIsSentToAClientThatHasLeftIsErrLeft(t *testing.T) {
	for name, end := range map[string]func(*reader, *Socket){
		"the client socket has ended": func(r *reader, _ *Socket) { r.Close(0, "", Closed) },
		"it ends by what is sent":     func(r *reader, _ *Socket) { r.stick(true) },
		"it has left the topic":       func(r *reader, s *Socket) { r.says(t, `["1","9","a","phx_leave",{}]`) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var socket *Socket
				var message Message
				ch := &scripted{message: func(_ context.Context, s *Socket, m Message) (any, error) {
					socket, message = s, m
					return Later, nil
				}}
				h, r := stage(t, ch)
				h.limits.QueueBytes = 300
				r.limits = h.limits
				r.says(t, `["1","1","a","phx_join",{}]`)
				r.says(t, `["1","2","a","m",{}]`)
				synctest.Wait()
				end(r, socket)
				synctest.Wait()
				var push, reply error
				for range 5 {
					push = socket.Push("e", nil)
					reply = socket.Reply(message, nil, nil)
				}
				if !errors.Is(push, ErrLeft) || !errors.Is(reply, ErrLeft) {
					t.Errorf("got %v of Push and %v of Reply, want %v", push, reply, ErrLeft)
				}
				r.Close(0, "", Closed)
			})
		})
	}
}

// A fan-out holds its topic for as long as it takes: whoever only wants to know
// who is there does not wait for it.
func TestMembersDoesNotWaitForAFanOut(t *testing.T) {
	h, r := stage(t, &scripted{})
	blocked, release := make(chan struct{}), make(chan struct{})
	r.says(t, `["1","1","a","phx_join",{}]`)
	if err := h.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	r.sends = func(sent) {
		close(blocked)
		<-release
	}
	r.mu.Unlock()
	done := make(chan error)
	go func() { done <- h.Broadcast(context.Background(), "a", "e", nil) }()
	<-blocked
	members := make(chan []Member)
	go func() { members <- h.members("a") }()
	select {
	case list := <-members:
		if len(list) != 1 || list[0].ID != r.id {
			t.Errorf("members: got %v, want the reader", list)
		}
	case <-time.After(10 * time.Second):
		t.Error("Members waits for a fan-out")
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	r.mu.Lock()
	r.sends = nil
	r.mu.Unlock()
	r.Close(0, "", Closed)
}

// A broker may fail to subscribe: then the client is not let in, and may try
// again; the application hears nothing of it.
func TestAJoinThatCanNotBeSubscribedIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := &scripted{}
		h, r := stage(t, ch)
		b := &noSubscriptions{Broker: h.broker, fails: 1}
		h.topics.broker = b
		r.says(t, `["1","1","a","phx_join",{}]`)
		synctest.Wait()
		r.wants(t, `["1","1","a","phx_reply",{"status":"error","response":{"reason":"unavailable"}}]`)
		if h.topics.find("a") != nil {
			t.Error("the topic is left behind")
		}
		r.says(t, `["2","2","a","phx_join",{}]`)
		synctest.Wait()
		r.wants(t, `["2","2","a","phx_reply",{"status":"ok","response":{}}]`)
		ch.wants(t, "join 2")
		r.Close(0, "", Closed)
		synctest.Wait()
		if got := fmt.Sprint(b.topics); got != "map[a:0]" {
			t.Errorf("subscriptions: got %s, want none left", got)
		}
	})
}
