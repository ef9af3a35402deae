package fanout

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/store"
)

// number is a picture: a state says how far it is, and each diff is the next number.
type number struct{ n int } // the topic's lock guards it

func (p *number) State() *wire.Message { return p.message("state") }

func (p *number) message(event string) *wire.Message {
	return wire.NewPush("a", event, fmt.Appendf(nil, `{"n":%d}`, p.n), 0)
}

func (p *number) step() *wire.Message {
	p.n++
	return p.message("diff")
}

// numberOf returns how far a client has seen the picture, -1 if it has not, and an error
// if it was sent a diff that does not follow what it has.
func numberOf(seen []item) (int, error) {
	at := -1
	for _, it := range seen {
		var n int
		f, err := wire.Decode(it.m.AppendText(nil, false, ""))
		if err != nil {
			return 0, err
		}
		if _, err := fmt.Sscanf(string(f.Payload), `{"n":%d}`, &n); err != nil {
			continue // no picture
		}
		switch {
		case f.Event == "state" && n < at:
			return at, fmt.Errorf("a state of %d behind %d", n, at)
		case f.Event == "diff" && (at < 0 || n != at+1):
			return at, fmt.Errorf("a diff to %d behind %d", n, at)
		}
		at = n
	}
	return at, nil
}

// Clients join, leave, fall behind and read at random, in topics with and without a
// history. Each sees the picture whole, then each change in order, and whole again
// where there was no room for one; by the last of these it has read everything.
func TestAPictureAtRandom(t *testing.T) {
	need.Bubbles(t, 60, 1000, pictureAtRandom)
}

func pictureAtRandom(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	w, picture := newWorld(20), &number{}
	c := Config{Budget: w.budget, Checks: w.checks, Tasks: &w.tasks, Picture: picture}
	if r.IntN(2) == 0 {
		c.History, c.Keep, c.Replay = w.history, 20, 10
	}
	w.topic = New("a", c)
	type client struct {
		*fakeQueue
		*fakeOwner
		in bool
	}
	clients := make([]client, 1+r.IntN(4))
	for i := range clients {
		q, p := w.client(2 + r.IntN(40))
		clients[i] = client{fakeQueue: q, fakeOwner: newOwner(w.topic, p, fmt.Sprint(i))}
	}
	for range 100 {
		switch one := &clients[r.IntN(len(clients))]; r.IntN(9) {
		case 0, 1:
			if !one.in {
				one.in = true
				go func() {
					_ = one.join(Want{Last: r.IntN(10)})
					w.topic.Reveal([]*Member{&one.Member})
				}()
			}
		case 2:
			if one.in && r.IntN(4) == 0 {
				one.in = false
				one.topic.Leave(&one.Member)
				one.fakeQueue.mu.Lock()
				one.seen, one.items = nil, nil // what a client of another join has seen
				one.fakeQueue.mu.Unlock()
			}
		case 3, 4:
			w.topic.Show(picture.step)
		case 5:
			w.topic.Show(func() *wire.Message { return nil })
		case 6:
			if c.History != nil {
				w.topic.Published(w.retain(t))
			} else {
				w.topic.Published(broker.Publication{Topic: "a", Message: store.Message{Event: "e", Payload: []byte("{}")}})
			}
		case 7:
			one.stick(r.IntN(3) > 0)
		case 8:
			one.read(r.IntN(10))
		}
		synctest.Wait()
		for i := range clients {
			one := &clients[i]
			if n := one.pager.waiting(); n > 1 || n == 1 && !one.in {
				t.Fatalf("client %d, which is in: %t, waits for pages %d times", i, one.in, n)
			}
		}
	}
	for i := range clients {
		one := &clients[i]
		one.stick(false)
		synctest.Wait()
		if one.in && !one.ended && one.state != failed {
			if at, err := numberOf(one.seen); at != picture.n || err != nil {
				t.Errorf("client %d has seen %d, want %d: %v", i, at, picture.n, err)
			}
		}
		if n := one.pager.waiting(); n > 0 || one.pager.busy {
			t.Errorf("client %d: %d members wait, and the pager is busy: %t, want none and not", i, n, one.pager.busy)
		}
	}
}

// A client that does not read costs no queue: it is sent the picture whole when it does.
func TestWhoDoesNotReadIsSentThePictureWhole(t *testing.T) {
	w, picture := newWorld(20), &number{}
	w.topic = New("a", Config{Budget: w.budget, Checks: w.checks, Tasks: &w.tasks, Picture: picture})
	q, p := w.client(8)
	q.stick(true)
	ann := newOwner(w.topic, p, "1")
	if err := ann.join(Want{}); err != nil {
		t.Fatal(err)
	}
	w.topic.Reveal([]*Member{&ann.Member})
	for range 1000 {
		w.topic.Show(picture.step)
	}
	if len(q.items) > q.most/2 || q.ended {
		t.Errorf("%d messages wait, and the client is ended: %t", len(q.items), q.ended)
	}
	q.stick(false)
	if err := w.tasks.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if at, err := numberOf(q.seen); at != 1000 || err != nil {
		t.Errorf("it has seen %d, want 1000: %v", at, err)
	}
	if len(q.seen) > q.most {
		t.Errorf("it was sent %d messages, want a few", len(q.seen))
	}
}

// A client that has left before it was greeted, or has failed, is sent nothing.
func TestWhoIsNotInSeesNoPicture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, picture := newWorld(20), &number{}
		w.retain(t)
		w.topic = New("a", Config{History: w.history, Keep: 20, Budget: w.budget, Checks: w.checks, Tasks: &w.tasks, Picture: picture})
		w.history.shut(&w.history.before)
		q, p := w.client(8)
		ann := newOwner(w.topic, p, "1")
		go func() {
			_ = ann.join(Want{})
			w.topic.Reveal([]*Member{&ann.Member})
		}()
		synctest.Wait()
		w.topic.Show(picture.step) // she joins, and has no reply yet
		ann.topic.Leave(&ann.Member)
		w.history.open(&w.history.before)
		synctest.Wait()
		if at, err := numberOf(q.seen); at != -1 || err != nil {
			t.Errorf("who has left has seen %d: %v", at, err)
		}
		bob := newOwner(w.topic, p, "2")
		if err := bob.join(Want{}); err != nil {
			t.Fatal(err)
		}
		w.topic.Show(picture.step) // he has not been shown it yet
		w.topic.Reveal([]*Member{&bob.Member})
		w.topic.mu.Lock()
		w.topic.members.fail(&bob.Member, ErrGap)
		w.topic.mu.Unlock()
		w.topic.Show(picture.step)
		w.topic.Reveal([]*Member{&bob.Member})
		synctest.Wait()
		if at, err := numberOf(q.seen); at != 2 || err != nil {
			t.Errorf("who has failed has seen %d, want 2: %v", at, err)
		}
	})
}
