package nats

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

// notes is a sink that writes down what it is told. It can be made to wait.
type notes struct {
	wait chan struct{}

	mu   sync.Mutex // guards text
	text []string
}

func (n *notes) Published(p broker.Publication) {
	if n.wait != nil {
		<-n.wait
	}
	n.add(fmt.Sprintf("%s %d<%d", p.Payload, p.Offset, p.Prev))
}
func (n *notes) Erased(_ string, at store.Position) { n.add(fmt.Sprint("erased ", at.Offset)) }
func (n *notes) Lost(topic string)                  { n.add("lost " + topic) }

func (n *notes) add(s string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.text = append(n.text, s)
}

func (n *notes) want(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Equal(n.text, want) {
		t.Errorf("the sink was told %q, want %q", n.text, want)
	}
	n.text = nil
}

func message(offset, prev uint64, text string) *record {
	return &record{Message: store.Message{Offset: offset, Prev: prev, Payload: []byte(text)}}
}

// orderOf is the order of a topic in a bubble, and a life of its stream.
func orderOf(n *notes) (*order, *life) {
	t := &topics{site: &site{}, erased: &erasures{}, backlog: &backlog{}, sink: n}
	return newOrder(t, "a"), &life{epoch: "e"}
}

// An ephemeral message that its publisher sent behind a retained one comes behind it, also if
// it arrives first, by another way. It waits for a second.
func TestAnEphemeralMessageWaitsForWhatItFollows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var n notes
		o, l := orderOf(&n)
		o.from(4)
		ephemeral := func(after uint64, text string) {
			o.hold(after, step{size: len(text), do: func() { o.announce(l, message(0, 0, text)) }})
		}
		ephemeral(4, "at once")
		n.want(t, "at once 0<0")
		ephemeral(6, "six")
		ephemeral(5, "five")
		n.want(t)
		o.retained(l, message(5, 4, "m"))
		n.want(t, "m 5<4", "five 0<0")
		o.retained(l, message(6, 5, "m"))
		n.want(t, "m 6<5", "six 0<0")
		ephemeral(9, "too long")
		time.Sleep(holding / 2)
		ephemeral(9, "too long, too")
		n.want(t)
		time.Sleep(holding / 2)
		n.want(t, "too long 0<0")
		time.Sleep(holding / 2)
		n.want(t, "too long, too 0<0")
		large := strings.Repeat("x", maxDelayedBytes/2)
		ephemeral(10, large)
		ephemeral(10, large)
		n.want(t)
		ephemeral(10, "what there is no room for")
		n.want(t, "what there is no room for 0<0")
		time.Sleep(holding)
		n.want(t, large+" 0<0", large+" 0<0")
		ephemeral(10, "never")
		o.close()
		time.Sleep(2 * holding)
		n.want(t)
	})
}

// A sink that takes nothing has the announcements of its topic dropped, and is told so.
func TestASinkThatTakesNothingIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := notes{wait: make(chan struct{})}
		o, l := orderOf(&n)
		large := strings.Repeat("x", maxWaiting/4)
		for i := range uint64(8) {
			o.retained(l, message(i+1, i, large))
		}
		close(n.wait)
		synctest.Wait()
		n.mu.Lock()
		got := len(n.text)
		loss := slices.Contains(n.text, "lost a")
		n.text = nil
		n.mu.Unlock()
		if !loss || got >= 8 {
			t.Errorf("the sink was told %d things, of a loss %t, want fewer than 8 and the loss", got, loss)
		}
		o.retained(l, message(9, 8, "next"))
		n.want(t, "next 9<8")
	})
}

// A sink that takes nothing while the stream loses its last messages is told of what is new at
// their offsets, although announcements are dropped.
func TestALossDoesNotHideThatAStreamIsShorter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := notes{wait: make(chan struct{})}
		o, l := orderOf(&n)
		o.retained(l, message(10, 9, "m"))
		synctest.Wait() // the sink is being told
		o.retained(l, message(11, 10, strings.Repeat("x", 2*maxWaiting)))
		o.shorten(5)
		o.retained(l, message(6, 5, "what there is no room for"))
		close(n.wait)
		n.want(t, "m 10<9", "lost a")
		o.retained(l, message(7, 6, "new"))
		n.want(t, "new 7<6")
	})
}

// Who publishes an ephemeral message does not wait for an announcement that is dropped, or that there
// is no room for: nothing would come.
func TestWhoPublishesDoesNotWaitForWhatIsDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := notes{wait: make(chan struct{})}
		o, l := orderOf(&n)
		o.topics.known = map[string]*order{"a": o}
		ends := func(what string, after uint64, do func()) {
			t.Helper()
			began, returned := time.Now(), make(chan time.Duration, 1)
			go func() {
				m := &broker.Publication{Topic: "a", Message: store.Message{At: began, Payload: []byte("ephemeral")}}
				o.topics.here(t.Context(), l, m, after)
				returned <- time.Since(began)
			}()
			synctest.Wait()
			do()
			if took := <-returned; took > 0 {
				t.Errorf("%s: who publishes it waits for %v", what, took)
			}
		}
		o.retained(l, message(1, 0, "m"))
		synctest.Wait()                                    // the sink is being told
		large := strings.Repeat("x", maxWaiting-2*perStep) // as much as there is room for besides a loss
		ends("what is dropped", 0, func() { o.retained(l, message(2, 1, large)) })
		o.retained(l, message(3, 2, large))
		ends("what there is no room for", 0, func() {})
		ends("what is held when the topic is left", 9, func() {
			ends("what waits then", 0, func() { go o.close() }) // which waits for the sink
			close(n.wait)
		})
		ends("what comes after that", 0, func() {})
	})
}

// What was erased is not announced after that, and a mark is no message.
func TestAnErasureOvertakesAnAnnouncement(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var n notes
		o, l := orderOf(&n)
		o.retained(l, message(1, 0, "m"))
		o.hold(0, step{do: func() { o.tellErased(store.Position{Epoch: "e", Offset: 2}) }})
		o.retained(l, message(2, 1, "m"))
		o.retained(l, message(2, 1, "m"))
		n.want(t, "m 1<0", "erased 2")
		mark := message(3, 2, "")
		mark.mark, mark.Erases = true, store.All
		o.retained(l, mark)
		o.retained(l, message(4, 3, "m"))
		n.want(t, "erased 0", "m 4<2")
	})
}

// A node that says nothing for too long is not up, and nobody is present on it.
func TestANodeIsSilent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var changes []broker.Change
		p := people{site: &site{}, changed: func(_ string, c broker.Change) { changes = append(changes, c) }}
		c := &crowd{people: &p, topic: "a", line: line{tasks: &p.site.tasks, most: maxWaiting}, others: map[string]*share{}}
		p.crowds = map[string]*crowd{"a": c}
		who := broker.Present{Key: "k", Ref: "r"}
		c.line.now(func() { c.set("other", map[string]broker.Present{"r": who}, 1) })
		n := nodes{site: &site{log: slog.New(slog.DiscardHandler)}, heard: time.Now(), known: map[string]*peer{"other": {heard: time.Now()}, "another": {heard: time.Now()}}}
		for range deadAfter / beatEvery {
			time.Sleep(beatEvery)
			n.echo()
		}
		if dead := n.silent(); len(dead) > 0 {
			t.Errorf("after %v: %q are gone, want none", deadAfter, dead)
		}
		n.known["another"].heard = time.Now()
		time.Sleep(time.Second)
		n.echo()
		dead := n.silent()
		if !slices.Equal(dead, []string{"other"}) || n.up("other") || !n.up("another") {
			t.Errorf("then %q are gone, want the one that was not heard", dead)
		}
		p.end(dead[0])
		synctest.Wait()
		if len(changes) != 2 || len(changes[0].Joins) != 1 || len(changes[1].Leaves) != 1 || changes[1].Leaves[0].Ref != "r" {
			t.Errorf("got the changes %+v, want that one joins and leaves", changes)
		}
	})
}

// A node that has not answered is not awaited until it is heard of, and is asked again then.
func TestANodeThatDoesNotAnswerIsNotAwaited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := nodes{began: time.Now(), known: map[string]*peer{
			"a": {heard: time.Now(), node: broker.Node{ID: "A"}}, "b": {heard: time.Now(), node: broker.Node{ID: "B"}}, "tool": {heard: time.Now()}, // which has no name
		}}
		n.mute(map[string]bool{"a": true, "nobody": true})
		if got := n.awaited(); len(got) != 1 || !got["b"] || !n.up("a") {
			t.Errorf("awaited: got %v, want b alone, and a up", got)
		}
		time.Sleep(deadAfter + time.Second)
		for instance, want := range map[string][2]bool{"a": {true, false}, "b": {false, false}, "c": {true, true}} {
			if missed, late := n.note(&beat{Instance: instance, Node: broker.Node{ID: strings.ToUpper(instance)}}); missed != want[0] || late != want[1] {
				t.Errorf("%s is heard: got missed %t, late %t, want %v", instance, missed, late, want)
			}
		}
		if got := n.awaited(); len(got) != 3 {
			t.Errorf("then awaited: got %v, want all three", got)
		}
	})
}

// An answer that ends before the last message is of a server that does not have it yet.
func TestAServerIsBehind(t *testing.T) {
	t.Parallel()
	v := view{known: true, last: record{Message: store.Message{Offset: 10}}}
	list := func(offsets ...uint64) (list []record) {
		for _, offset := range offsets {
			list = append(list, *message(offset, 0, ""))
		}
		return list
	}
	for _, c := range []struct {
		s      scan
		behind bool
	}{
		{scan{from: 1, list: list(4, 9), ended: true}, true},
		{scan{from: 1, list: list(4, 10), ended: true}, false},
		{scan{from: 1, list: list(4, 12), ended: true}, false}, // it is ahead
		{scan{from: 1, list: list(4, 9)}, false},               // there is more to ask for
		{scan{from: 5, ended: true}, true},
		{scan{from: 11, ended: true}, false},
		{scan{from: 1, list: list(4), ended: true, past: true}, false},
	} {
		c.s.view = &v
		if err := c.s.check(); (err != nil) != c.behind {
			t.Errorf("%+v: got %v, want that it is behind: %t", c.s, err, c.behind)
		}
	}
}
