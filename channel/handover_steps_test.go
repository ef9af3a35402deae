package channel

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/go-chime/chime/store"
)

// What the clients and the application of a world do.

// write does what may be held up by the store.
func (w *world) write(f func()) {
	w.busy.Add(1)
	w.writes.Go(func() {
		defer w.busy.Add(-1)
		f()
	})
}

func (w *world) forget(topic string) {
	w.model.mu.Lock()
	top := w.model.of(topic).top()
	w.model.mu.Unlock()
	if err := w.h.Forget(context.Background(), topic); err != nil {
		w.t.Error(err)
	}
	w.model.erased(topic, func(e record) bool { return e.forgotten && e.offset <= top })
}

func (w *world) redact(topic string, offset uint64) {
	if w.h.Redact(context.Background(), topic, offset) == nil {
		w.model.erased(topic, func(e record) bool { return e.offset == offset })
	}
}

// offset is one of the topic's, mostly of late, or close to one.
func (w *world) offset(r *rand.Rand, topic string) uint64 {
	w.model.mu.Lock()
	defer w.model.mu.Unlock()
	entries := w.model.of(topic).entries
	if len(entries) == 0 || r.IntN(20) == 0 {
		return 0
	}
	back := r.IntN(min(len(entries), pick(r, 1, 3, 70, 700)))
	return entries[len(entries)-1-back].offset + pick(r, uint64(0), 0, 0, 0, 1, 1000)
}

func (w *world) join(c *watched, topic string) {
	v := w.view(w.r, topic)
	v.exact = w.quiet()
	toFail, about := w.st.ill()
	v.unread = toFail || about
	w.note("%s joins %s: %s %v, exact %t", c.id, topic, v.ref, v.ask, v.exact)
	c.giveUp(topic)
	c.joins(w.t, v)
}

// view makes up a join, and notes what it must get and what it must not.
func (w *world) view(r *rand.Rand, topic string) *view {
	v := &view{topic: topic, ref: w.ref(), ask: wish{last: -1, replay: w.option.Replay}}
	if r.IntN(2) == 0 {
		v.ask.since = &store.Position{Epoch: w.st.Epoch(), Offset: w.offset(r, topic)}
		if r.IntN(10) == 0 {
			v.ask.since.Epoch = "foreign"
		}
	}
	if r.IntN(4) == 0 {
		v.ask.last = pick(r, 0, 1, 10, 64, 100, 500, 9999)
	}
	w.model.mu.Lock()
	defer w.model.mu.Unlock()
	h := w.model.of(topic)
	v.removed = h.removed()
	if w.network == nil || w.quiet() {
		v.top = h.announcedTop()
	}
	v.want, v.sure = h.replay(v.ask, w.st.Epoch())
	return v
}

func (w *world) ref() string { return strconv.FormatInt(w.refs.Add(1), 10) }

func (c *watched) joins(t *testing.T, v *view) {
	c.views[v.ref] = v
	c.says(t, fmt.Sprintf(`[%q,%q,%q,"phx_join",%v]`, v.ref, v.ref, v.topic, v.ask))
}

var padding = make([]byte, 1<<20)

// say publishes retained messages.
func (w *world) say(topic string, n, size int) {
	w.note("say %d times %d bytes in %s", n, size, topic)
	w.write(func() {
		for range n {
			if err := w.h.Broadcast(context.Background(), topic, "said", Binary(padding[:size])); err != nil {
				w.t.Error(err)
			}
		}
	})
}

// overtake has a client join that reads nothing until more is said than is kept.
func (w *world) overtake(c *watched, topic string) {
	w.note("%s is overtaken", c.id)
	c.stuck = true
	c.stick(true)
	w.join(c, topic)
	synctest.Wait()
	w.look()
	w.say(topic, min(w.option.Keep, 150)+1, 1)
	synctest.Wait()
	w.look()
	w.note("%s reads all", c.id)
	c.read(1 << 30)
}

// chat publishes an ephemeral message, which the live must get.
func (w *world) chat(topic string) {
	event, notMe, options := w.gossip(w.r, topic, w.clients)
	w.model.mu.Lock()
	h := w.model.of(topic)
	toFail, _ := w.st.ill()
	quiet := !toFail && w.busy.Load() == 0 && w.st.before == nil && w.st.after == nil
	var must []*view
	var who []*watched
	for _, c := range w.clients {
		if v := c.present[topic]; c != notMe && !c.stuck && quiet && v.live(h) {
			must, who = append(must, v), append(who, c)
		}
	}
	w.model.mu.Unlock()
	w.note("%s in %s", event, topic)
	if err := w.h.Broadcast(context.Background(), topic, event, nil, options...); err != nil {
		w.t.Error(err)
	}
	synctest.Wait()
	w.look()
	for i, v := range must {
		if !v.chatter[event] && v.ended == "" {
			w.t.Errorf("%s, live in join %s: did not get %s", who[i].id, v.ref, event)
		}
	}
}

// gossip makes up an ephemeral message. Its name says what must come before it,
// and who must not get it.
func (w *world) gossip(r *rand.Rand, topic string, clients []*watched) (event string, notMe *watched, options []SendOption) {
	w.model.mu.Lock()
	defer w.model.mu.Unlock()
	top := uint64(0) // nothing comes in a certain order with what is late
	if w.network == nil || w.quiet() {
		top = w.model.of(topic).announcedTop()
	}
	event, options = fmt.Sprintf("chat %s %d", w.ref(), top), []SendOption{Ephemeral()}
	if r.IntN(3) == 0 {
		notMe = clients[r.IntN(len(clients))]
		event += " " + notMe.id
		options = append(options, from(notMe.id))
	}
	return event, notMe, options
}
