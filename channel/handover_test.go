package channel

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/brokertest"
	"github.com/go-chime/chime/broker/local"
	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/internal/task"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/transport"
)

// What invariant 4 says, against a model: every member of a topic sees its
// retained messages once, in the one order, from where its join began; it is
// told when the history does not reach there; never is there a silent hole.
// Clients join, leave, vanish and stop reading, messages are said, aged,
// forgotten and redacted, and the store is slow where it hurts.
func TestHandOver(t *testing.T) {
	schedules := need.Rounds(300, 2000)
	if raceDetector { // which makes them ten times as slow, and is not after this
		schedules = 200
	}
	memory := func(*testing.T) store.Store { return store.NewMemory(store.MaxBytes(0)) }
	t.Run("memory", func(t *testing.T) { handOver(t, schedules, anyKeep, memory, false) })
	t.Run("bolt", func(t *testing.T) { // whose schedules wait for the disk
		handOver(t, schedules/66, smallKeep, func(t *testing.T) store.Store { return openBolt(t) }, false)
	})
	t.Run("announcements are lost, late and in disorder", func(t *testing.T) {
		handOver(t, schedules, anyKeep, memory, true)
	})
}

func handOver(t *testing.T, schedules int, keeps []int, open func(*testing.T) store.Store, unreliable bool) {
	first, overruns := need.Seed(t), 0
	for i := 0; i < schedules || overruns == 0 && i < 10*schedules; i++ {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, first+uint64(i), keeps, open(t), unreliable)
			w.run()
			overruns += w.overruns
		})
	}
	if overruns == 0 {
		t.Errorf("retention overtook no client in %d schedules: that it is told was not tried", 10*schedules)
	}
}

type world struct {
	t       *testing.T
	seed    uint64
	r       *rand.Rand
	h       *Hub
	st      *staged
	network *brokertest.Unreliable // nil: nothing is lost
	settled bool                   // nothing is late
	model   *model
	option  History
	writes  task.Group   // what is being said or erased
	busy    atomic.Int32 // how many of these
	clients []*watched
	refs    atomic.Int64
	leaves  register
	did     []string

	overruns int // how many joins have ended since they were overtaken
}

// watched is a client and what it has been sent.
type watched struct {
	*reader
	mu      sync.Mutex // guards sent
	sent    []sent
	present map[string]*view // by topic
	views   map[string]*view // by ref
}

// giveUp notes that joins of a topic may end as soon as they begin: they do not
// wait long for the store.
func (c *watched) giveUp(topic string) {
	for _, v := range c.views {
		if v.topic == topic && v.reply == nil {
			v.unread = true
		}
	}
}

// register counts the calls of HandleLeave, by client and join_ref.
type register struct {
	AnyoneMayJoin
	mu    sync.Mutex // guards count
	count map[string]int
}

func (l *register) HandleMessage(context.Context, *Socket, Message) (any, error) { return nil, nil }

func (l *register) HandleLeave(_ context.Context, s *Socket, _ Reason) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count[s.ID()+" "+s.joinRef.String()]++
}

var topicNames = []string{"a", "b"}

// How much the topics of a world may keep. With little, clients are overtaken more often.
var (
	anyKeep   = []int{1, 2, 5, 20, 64, 70, 150, 1000}
	smallKeep = []int{5, 20}
)

func newWorld(t *testing.T, seed uint64, keeps []int, s store.Store, unreliable bool) *world {
	w := &world{t: t, seed: seed, r: rand.New(rand.NewPCG(seed, 0)), model: &model{topics: map[string]*history{}, late: unreliable}}
	w.settled = !unreliable
	w.leaves.count = map[string]int{}
	w.st = newStaged(w.model, s)
	w.option.Keep = pick(w.r, keeps...)
	w.option.Replay = min(w.option.Keep, pick(w.r, 0, 1, 5, 50, 64, 65, 100, 500))
	w.option.Age = pick(w.r, Forever, Forever, time.Hour, 10*time.Minute)
	var b broker.Broker = announced{local.New(w.st), w.model}
	if unreliable {
		w.network = brokertest.NewUnreliable(b, seed)
		b = w.network
	}
	w.h = NewHub(Config{
		Broker: b,
		Log:    slog.New(slog.DiscardHandler),
		Limits: transport.Limits{QueueBytes: pick(w.r, 8<<10, 20<<10, 1<<20)},
	})
	w.h.publisher.apart = false // else who publishes waits for what is lost, and no more is said at once
	w.h.Channel("{topic}", &w.leaves, w.option)
	for range 2 + w.r.IntN(4) {
		w.connect()
	}
	w.did = append(w.did, fmt.Sprintf("%+v, %+v", w.option, w.h.limits))
	return w
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func (w *world) connect() *watched {
	c := &watched{present: map[string]*view{}, views: map[string]*view{}}
	c.reader = newReader(w.h, fmt.Sprintf("client-%d", len(w.clients)))
	c.sends = func(s sent) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.sent = append(c.sent, s)
	}
	w.clients = append(w.clients, c)
	return c
}

func (w *world) run() {
	for range 20 + w.r.IntN(60) {
		w.step()
		synctest.Wait()
		w.look()
		if w.t.Failed() {
			break
		}
	}
	w.end()
	if w.t.Failed() {
		w.t.Logf("to repeat it: CHIME_SEED=%d; what was done:", w.seed)
		for _, did := range w.did {
			w.t.Log(did)
		}
	}
}

func (w *world) note(format string, args ...any) {
	w.did = append(w.did, fmt.Sprintf(format, args...))
}

// quiet reports whether the next step happens all by itself.
func (w *world) quiet() bool {
	w.st.mu.Lock()
	defer w.st.mu.Unlock()
	return w.st.before == nil && w.st.after == nil && w.st.saying == nil && w.st.erased == nil && w.st.fails == 0 && w.busy.Load() == 0 && w.settled
}

// someone returns a client that is connected.
func (w *world) someone() *watched {
	for {
		c := w.clients[w.r.IntN(len(w.clients))]
		if !c.over() {
			return c
		}
		w.connect() // in place of the client that has ended
	}
}

// settle has what is late come, and the hub hear of what is lost.
func (w *world) settle() {
	if w.network != nil {
		w.note("settle")
		w.network.Settle()
		time.Sleep(5 * time.Second) // what could not be read is read again
		synctest.Wait()
	}
	w.settled = true
}

func (w *world) step() {
	topic := pick(w.r, topicNames...)
	if w.network != nil {
		if w.r.IntN(3) == 0 {
			w.settle()
			synctest.Wait()
			w.look()
		} else {
			w.settled = false
		}
	}
	switch dice := w.r.IntN(100); {
	case dice < 25:
		w.join(w.someone(), topic)
	case dice < 55:
		w.say(topic, pick(w.r, 1, 1, 1, 2, 3, 10, 30, 70, 150), pick(w.r, 1, 1, 10, 100, 1000, 20<<10, 150<<10))
	case dice < 60:
		w.chat(topic)
	case dice < 62:
		w.overtake(w.someone(), topic)
	case dice < 68:
		c := w.someone()
		ref := w.ref()
		w.note("%s leaves %s: %s", c.id, topic, ref)
		c.giveUp(topic)
		c.says(w.t, fmt.Sprintf(`[null,%q,%q,"phx_leave",{}]`, ref, topic))
	case dice < 70:
		c := w.someone()
		w.note("%s vanishes", c.id)
		c.Close(0, "", Vanished)
	case dice < 75:
		c := w.someone()
		c.stuck = !c.stuck
		w.note("%s stops reading: %t", c.id, c.stuck)
		c.stick(c.stuck)
	case dice < 81:
		c, n := w.someone(), 1+w.r.IntN(60)
		w.note("%s reads %d", c.id, n)
		c.read(n)
	case dice < 83:
		w.note("forget %s", topic)
		w.write(func() {
			w.forget(topic)
		})
	case dice < 88:
		offset := w.offset(w.r, topic)
		w.note("redact %d of %s", offset, topic)
		w.write(func() {
			w.redact(topic, offset)
		})
	case dice < 91:
		pause := time.Duration(1+w.r.IntN(1200)) * time.Second
		w.note("wait %v", pause)
		time.Sleep(pause)
	case dice < 97:
		name, g := w.gate()
		w.note("shut %s", name)
		w.st.shut(g)
	case dice < 98:
		w.open()
	default:
		n := pick(w.r, 1, 1, 3, 10) // with more than one nothing can be read for a join
		w.note("%d reads fail", n)
		w.st.mu.Lock()
		w.st.fails += n
		w.st.mu.Unlock()
		for _, c := range w.clients {
			for _, v := range c.views {
				v.unread = true // it may be this one's
			}
		}
	}
	if w.r.IntN(6) == 0 {
		w.open()
	}
}

func (w *world) gate() (string, *gate) {
	switch w.r.IntN(4) {
	case 0:
		return "before reads", &w.st.before
	case 1:
		return "after reads", &w.st.after
	case 2:
		return "announcements", &w.st.saying
	}
	return "after erasing", &w.st.erased
}

func (w *world) open() {
	if w.quiet() {
		return
	}
	w.note("open all gates")
	for _, g := range []*gate{&w.st.before, &w.st.after, &w.st.saying, &w.st.erased} {
		w.st.open(g)
	}
}

// end lets everything come to its end, where nothing may be missing.
func (w *world) end() {
	w.open()
	synctest.Wait()
	w.st.mu.Lock()
	w.st.fails = 0
	w.st.mu.Unlock()
	w.settle()
	w.rest(synctest.Wait)
}

func (w *world) rest(wait func()) {
	for range 2 {
		for _, c := range w.clients {
			c.stick(false)
		}
		wait()
	}
	if w.t.Failed() {
		w.close(wait)
		return
	}
	w.look()
	w.model.mu.Lock()
	for _, c := range w.clients {
		for topic, v := range c.present {
			h := w.model.of(topic)
			if v.ended == "" && !v.live(h) {
				w.t.Errorf("%s, join %s of %s, at rest: began at %d, got up to %d, missed %v", c.id, v.ref, topic, v.reply.Offset, v.pos, v.missed(h, h.top()))
			}
		}
	}
	w.model.mu.Unlock()
	w.close(wait)
	for _, c := range w.clients {
		for ref, v := range c.views {
			n := w.leaves.count[c.id+" "+ref]
			if v.reply != nil && n != 1 || n > 1 {
				w.t.Errorf("%s, join %s: HandleLeave was called %d times", c.id, ref, n)
			}
		}
	}
	if n := w.h.topics.len(); n > 0 {
		w.t.Errorf("%d topics are left", n)
	}
}

func (w *world) close(wait func()) {
	for _, c := range w.clients {
		c.Close(0, "", Closed)
	}
	wait()
}
