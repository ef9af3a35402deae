package contract

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/internal/presence"
)

// crowdTopic is a topic whose members are told who is present: by their identity, with a
// meta that says n, and begins at 0.
const crowdTopic = "crowd:1"

func inTheCrowd(sock *channel.Socket) (string, any) {
	if sock.Identity().ID == "eve" {
		panic(secret)
	}
	if strings.HasPrefix(sock.Identity().ID, "large") {
		return sock.Identity().ID, obj{"n": 0, "text": strings.Repeat("x", 4000)}
	}
	return sock.Identity().ID, obj{"n": 0}
}

// numbers are the n of the metas of each key.
type numbers map[string][]int

// WantPresent wants that the client comes to see these, and is told nothing else.
func (m *member) WantPresent(want numbers) {
	m.Helper()
	for !reflect.DeepEqual(numbersOf(m.T, m.view), want) {
		m.look(fmt.Sprintf("who is present: %v, and not %v", want, numbersOf(m.T, m.view)))
	}
}

// WantChanged wants that the next event has a key both join and leave.
func (m *member) WantChanged(key string) {
	m.Helper()
	f := m.look(key + " both joins and leaves")
	diff, _ := f.payload.(obj)
	if joins, leaves := diff["joins"].(obj), diff["leaves"].(obj); f.event != presence.EventDiff || joins[key] == nil || leaves[key] == nil {
		m.Errorf("got %v, want that %s both joins and leaves", f, key)
	}
}

// look takes the next event, which is to tell who is present.
func (m *member) look(want string) frame {
	m.Helper()
	f := m.next(want)
	payload, err := json.Marshal(f.payload)
	if err != nil {
		m.Fatal(err)
	}
	m.want(f, "", "", f.event, f.payload)
	if took, err := m.view.Take(f.event, payload); !took || err != nil {
		m.Fatalf("got %v, want %s: %v", f, want, err)
	}
	return f
}

func numbersOf(t interface{ Fatal(...any) }, v presence.View) numbers {
	keys, synced := v.Keys()
	if !synced {
		return nil
	}
	all := numbers{}
	for key, metas := range keys {
		for _, meta := range metas {
			var one struct{ N int }
			if err := json.Unmarshal(meta, &one); err != nil {
				t.Fatal(err)
			}
			all[key] = append(all[key], one.N)
		}
	}
	return all
}

// WantListed wants that the Router lists these.
func (s *stage) WantListed(want numbers) {
	s.Helper()
	list, err := s.live.Presence(s.Context(), crowdTopic)
	if err != nil {
		s.Fatalf("Presence: %v", err)
	}
	v := map[string]any{}
	for _, p := range list {
		v[p.Key] = map[string]any{"metas": p.Metas}
	}
	text, _ := json.Marshal(v)
	view := presence.View{}
	if _, err := view.Take(presence.EventState, text); err != nil {
		s.Fatal(err)
	}
	if got := numbersOf(s.T, view); !reflect.DeepEqual(got, want) {
		s.Errorf("Presence: got %v, want %v", got, want)
	}
}

var present = []behaviour{
	{name: "present_from_join_to_leave", grace: noTime, timed: true, script: func(s *stage) {
		bob := s.Join("bob", crowdTopic)
		bob.look("the state")
		bob.WantPresent(numbers{"bob": {0}}) // by that alone
		ann := s.Join("ann", crowdTopic)
		if f := ann.look("the state"); f.event != presence.EventState {
			s.Errorf("got %v, want a presence_state", f)
		}
		if got, want := numbersOf(s.T, ann.view), (numbers{"ann": {0}, "bob": {0}}); !reflect.DeepEqual(got, want) {
			s.Errorf("the state is %v, want %v", got, want)
		}
		bob.WantPresent(numbers{"ann": {0}, "bob": {0}})
		s.WantListed(numbers{"ann": {0}, "bob": {0}})
		ann.Cut()
		time.Sleep(ann.Silence())
		bob.WantPresent(numbers{"bob": {0}})
		s.WantListed(numbers{"bob": {0}})
		bob.WantNothing()
	}},

	{name: "present_until_disconnected", script: func(s *stage) {
		bob := s.Join("bob", crowdTopic)
		ann := s.Join("ann", crowdTopic)
		bob.WantPresent(numbers{"ann": {0}, "bob": {0}})
		s.Disconnect("ann")
		ann.WantEnd(1001)
		bob.WantPresent(numbers{"bob": {0}})
		bob.WantNothing()
	}},

	{name: "present_twice_under_one_key", grace: noTime, timed: true, script: func(s *stage) {
		bob := s.Join("bob", crowdTopic)
		first := s.Join("ann", crowdTopic)
		second := s.Join("ann", crowdTopic)
		second.WantPresent(numbers{"ann": {0, 0}, "bob": {0}})
		bob.WantPresent(numbers{"ann": {0, 0}, "bob": {0}})
		first.Cut()
		time.Sleep(first.Silence())
		bob.WantPresent(numbers{"ann": {0}, "bob": {0}})
		second.Cut()
		time.Sleep(second.Silence())
		bob.WantPresent(numbers{"bob": {0}})
		bob.WantNothing()
	}},

	{name: "present_updated_in_one_event", timed: true, script: func(s *stage) {
		bob := s.Join("bob", crowdTopic)
		ann := s.Join("ann", crowdTopic)
		sock := s.room.socket()
		ann.WantPresent(numbers{"ann": {0}, "bob": {0}})
		bob.WantPresent(numbers{"ann": {0}, "bob": {0}})
		synctest.Wait()
		for n := range 5 {
			if err := sock.UpdatePresence(obj{"n": n}); err != nil {
				s.Errorf("UpdatePresence: %v", err)
			}
		}
		if s.nodes == nil { // else the node that is asked may be another than hers, which learns of it with the clients
			s.WantListed(numbers{"ann": {4}, "bob": {0}})
		}
		bob.WantChanged("ann")
		ann.WantPresent(numbers{"ann": {4}, "bob": {0}})
		synctest.Wait()
		s.WantListed(numbers{"ann": {4}, "bob": {0}})
		bob.WantNothing()
	}},

	{name: "present_as_it_is_joined_again", needs: toSend, timed: true, script: func(s *stage) {
		bob, ann := s.Join("bob", crowdTopic), s.Join("ann", crowdTopic)
		bob.WantPresent(numbers{"ann": {0}, "bob": {0}})
		time.Sleep(time.Second)
		again := ann.client.TryJoin(crowdTopic, nil)
		bob.WantChanged("ann")
		s.WantListed(numbers{"ann": {0}, "bob": {0}})
		s.WantLeave(crowdTopic, channel.Replaced)
		again.Leave()
		bob.WantPresent(numbers{"bob": {0}})
	}},

	{name: "present_in_a_state_larger_than_a_queue", needs: toForget, limits: chime.Limits{QueueBytes: 12 << 10}, timed: true, script: func(s *stage) {
		want := numbers{}
		var all []*member
		for i := range 6 {
			who := fmt.Sprint("large", i)
			want[who] = []int{0}
			all = append(all, s.Join(who, crowdTopic))
		}
		for _, m := range all {
			m.WantPresent(want)
		}
	}},

	{name: "not_present_without_being_let_in", needs: toBeAnswered, script: func(s *stage) {
		s.room.joined = func(_ context.Context, sock *channel.Socket, _ channel.Message) (channel.Accepted, error) {
			if sock.Identity().ID == "ann" {
				return channel.Accepted{}, channel.Refuse("no")
			}
			return channel.Accept(nil), nil
		}
		s.Dial("ann").TryJoin(crowdTopic, nil).WantRefused("no")
		eve := s.Dial("eve").TryJoin(crowdTopic, nil)
		eve.WantRefused("internal")
		eve.WantUnseen(secret)
		s.WantLeave(crowdTopic, channel.Panicked)
		bob := s.Join("bob", crowdTopic)
		bob.WantPresent(numbers{"bob": {0}})
		bob.WantNothing()
	}},

	{name: "present_while_it_may_come_back", needs: toResume, timed: true, script: func(s *stage) {
		bob, ann := s.Join("bob", crowdTopic), s.Join("ann", crowdTopic)
		for _, m := range []*member{bob, ann} {
			m.WantPresent(numbers{"ann": {0}, "bob": {0}})
		}
		synctest.Wait()
		ann.Hear(0)
		ann.Lose()
		time.Sleep(within)
		s.WantListed(numbers{"ann": {0}, "bob": {0}})
		ann.Return()
		ann.WantNothing()
		bob.WantNothing() // neither a leave nor a join
		cat := s.Join("cat", crowdTopic)
		for _, m := range []*member{bob, ann, cat} {
			m.WantPresent(numbers{"ann": {0}, "bob": {0}, "cat": {0}})
		}
		synctest.Wait()
		ann.Lose()
		time.Sleep(ann.Silence() + grace + time.Second)
		s.WantListed(numbers{"bob": {0}, "cat": {0}})
		bob.WantPresent(numbers{"bob": {0}, "cat": {0}})
		s.WantLeave(crowdTopic, channel.Vanished)
	}},
}
