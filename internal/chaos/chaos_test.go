// Package chaos has many clients, on every transport and in several dialects, talk
// through a network with faults, while some of them come, go, read slowly or not at
// all, and the server is replaced by another. It counts what each has seen in the end.
// It has no code but tests.
package chaos

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore"
	"github.com/go-chime/chime/transport"
)

// scale is how much of everything there is.
type scale struct {
	clients, mutes, publishers int
	dialects                   []*dialect    // of clients that do not resume, on a WebSocket
	books, halls               int           // topics with a history, and without
	lasts                      time.Duration // half of it before the drain
	pause                      time.Duration // between two acts of a client, at most
	burst                      time.Duration // between two bursts of a publisher, at most
	trickle                    int           // bytes in a second that slow readers read
	ill                        time.Duration // between two things of one kind that befall the world, on average
}

var short = scale{dialects: dialects, clients: 40, mutes: 3, publishers: 2, books: 4, halls: 2, lasts: 3 * time.Second, pause: 400 * time.Millisecond, burst: 200 * time.Millisecond, trickle: 500_000, ill: time.Second}

func (c scale) isShort() bool { return c.clients == short.clients }

// scaleOf is short, unless CHIME_CHAOS says how long a long run lasts.
func scaleOf(t *testing.T) scale {
	t.Helper()
	given := os.Getenv("CHIME_CHAOS")
	if given == "" {
		return short
	}
	lasts, err := time.ParseDuration(given)
	if err != nil || lasts <= 0 {
		t.Fatalf("CHIME_CHAOS: %q: want a duration, such as 3m", given)
	}
	return scale{dialects: dialects, clients: 500, mutes: 20, publishers: 4, books: 30, halls: 10, lasts: lasts, pause: 5 * time.Second, burst: 500 * time.Millisecond, trickle: 60_000, ill: 10 * time.Second}
}

// TestChaos: whatever becomes of the connections, each client that is in a topic with
// a history has seen each of its messages once and in order, what a client pushed was
// handled once if it has the reply and at most once if not, nobody that reads was ended
// as slow, and each accepted join was left once.
func TestChaos(t *testing.T) {
	c := scaleOf(t)
	t.Run("memory", func(t *testing.T) { chaos(t, c, func(s *stage) world { return alone(t, store.NewMemory(), s.books) }) })
	if c.isShort() {
		return
	}
	t.Run("file", func(t *testing.T) {
		file, err := boltstore.Open(filepath.Join(t.TempDir(), "chime.db"), boltstore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		chaos(t, c, func(s *stage) world { return alone(t, file, s.books) })
	})
}

// TestChaosOnNodes is TestChaos on three nodes, each connection and each poll at another one.
func TestChaosOnNodes(t *testing.T) {
	c := scaleOf(t)
	c.publishers++
	chaos(t, c, func(s *stage) world { return threeWithin(t, s.books) })
}

// TestChaosOnProcesses is TestChaos on three nodes that are processes, over real engines, while
// nodes are killed, stop, and shut down, the engine is hurt, and what is between them is cut.
// What was acknowledged is in the history once, and what was refused is not there.
func TestChaosOnProcesses(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs signals")
	}
	c, much := scaleOf(t), trials{giveUp: 6 * time.Second, grace: 15 * time.Second, stops: 20 * time.Second, cuts: 12 * time.Second}
	if c.isShort() {
		need.Patience(t, "a minute and more")
		much = trials{giveUp: 5 * time.Second, grace: 5 * time.Second, stops: 3 * time.Second, cuts: 2 * time.Second}
		c.lasts = 12 * time.Second
	} else { // six processes share the machine
		c.clients, c.mutes, c.books, c.halls = 200, 10, 12, 4
	}
	c.publishers++
	c.dialects = []*dialect{phoenix2, phoenix1} // Amber's clients are not told that a join was refused
	t.Run("redis", func(t *testing.T) {
		e := newRedis(t)
		chaos(t, c, func(s *stage) world { return threeProcesses(s, e, much) })
	})
	t.Run("redis, weak", func(t *testing.T) {
		e := newWeakRedis(t)
		chaos(t, c, func(s *stage) world { return threeProcesses(s, e, much) })
	})
	t.Run("nats", func(t *testing.T) {
		e := newServers(t)
		chaos(t, c, func(s *stage) world { return threeProcesses(s, e, much) })
	})
}

// chaos is a run in the world that build makes.
func chaos(t *testing.T, c scale, build func(*stage) world) {
	t.Helper()
	s := open(t, c, build, need.Seed(t))
	s.run(c.lasts / 2)
	if c.isShort() { // a drain has patience with those that never read
		s.dropMutes()
	}
	s.world.drain()
	s.run(c.lasts / 2)
	s.settle()
	s.wantAll()
	s.close()
}

// stage is a run: a world, the network, and who is there.
type stage struct {
	*testing.T
	scale
	seed    uint64
	url     string
	world   world
	books   *books
	net     *network
	topics  []string
	clients []client
	crowd   []*publisher
	luck    []*dice // of each kind of ill

	mu   sync.Mutex // guards what follows
	ends map[string]int
	slow int // joins of those that never read, which were ended for it
	tops map[string]top
}

// top is the last message of a topic with a history.
type top struct {
	offset uint64
	what   said
	all    map[said]bool // that there are
}

func open(t *testing.T, c scale, build func(*stage) world, seed uint64) *stage {
	t.Helper()
	s := &stage{T: t, scale: c, seed: seed, ends: map[string]int{}, tops: map[string]top{}}
	s.books = newBooks(s.fault, s.slowEnd)
	s.world = build(s)
	s.net = &network{addresses: s.world.addresses(), mended: make(chan struct{})}
	s.url = "http://" + s.net.addresses[0]
	for i := range c.books {
		s.topics = append(s.topics, fmt.Sprintf("book:%d", i))
	}
	for i := range c.halls {
		s.topics = append(s.topics, fmt.Sprintf("hall:%d", i))
	}
	for i := range c.clients + c.mutes {
		s.clients = append(s.clients, s.newClient(i))
	}
	for i := range c.publishers {
		s.crowd = append(s.crowd, &publisher{stage: s, node: i % len(s.net.addresses), name: fmt.Sprint(publisherName, i), dice: newDice(seed, 1<<32+uint64(i))})
	}
	for i := range s.world.ills() {
		s.luck = append(s.luck, newDice(seed, 1<<33+uint64(i)))
	}
	for _, c := range s.clients {
		if !isMute(c.common().name) {
			c.common().working.Go(c.live)
		}
	}
	return s
}

// fault is something that must not be. The test goes on, since others may show why.
func (s *stage) fault(format string, args ...any) { s.Errorf(format, args...) }

func (s *stage) newClient(i int) client {
	var c client
	name, speaks := fmt.Sprint("client ", i), phoenix2
	switch {
	case i >= s.scale.clients:
		c, name = &mute{}, fmt.Sprint(muteName, i)
	case i%8 == 0: // a client that only polls
		c = &resumer{kinds: []string{transport.LongPoll}}
	case i%4 < 2:
		c = &resumer{kinds: []string{transport.WebSocket, transport.SSE, transport.LongPoll}}
	case i%4 == 2:
		c, speaks = &phoenix{}, s.dialects[i/4%len(s.dialects)]
	default:
		c = &bare{}
	}
	_, c.common().polls = c.(*resumer)
	c.common().dialect = speaks
	c.common().init(s, name, uint64(i))
	return c
}

// dropMutes cuts the connections of those that never read.
func (s *stage) dropMutes() {
	for _, c := range s.clients {
		if m, ok := c.(*mute); ok {
			m.drop()
		}
	}
}

// run lets everybody do as they like for a while.
func (s *stage) run(lasts time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), lasts)
	defer cancel()
	var working sync.WaitGroup
	loop := func(d *dice, pause time.Duration, do func()) {
		working.Go(func() {
			for timer := time.NewTimer(0); ; timer.Reset(d.between(0, pause)) {
				select {
				case <-timer.C:
					do()
				case <-ctx.Done():
					return
				}
			}
		})
	}
	for _, c := range s.clients {
		if isMute(c.common().name) { // which do not see that the server has ended them
			c.common().working.Go(c.live)
		}
		loop(c.common().dice, s.pause, c.act)
	}
	for _, p := range s.crowd {
		loop(p.dice, s.burst, p.publish)
	}
	for i, befall := range s.world.ills() {
		d := s.luck[i]
		loop(d, 2*s.ill, func() { befall(d) })
	}
	working.Wait()
}

// The busy topics have more messages than those that read slowly can read, and than the
// buffers of a connection hold. Those that never read are in both, and some that read.
//
// Those that read slowly are in the busy topic with a history, where they cost a position,
// however far they are behind; and nobody who reads may be ended for it. They are not in
// the busy one without: what no history keeps waits in their queues, and grows there by
// what they do not get to, until it is QueueBytes: in a run of minutes that ends them,
// and is right (ADR 22). In other halls less is said than they read. Nor are those there
// that poll: on these links a reply is lost more often than not, and asked for again.
const busyHall, busyBook = "hall:0", "book:0"

// publisher publishes on a node, in bursts.
type publisher struct {
	stage *stage
	node  int
	name  string
	dice  *dice
	n     int
	names int // that it has had

	retained []published
}

// published is what became of a message that was to be retained.
type published struct {
	topic  string
	what   said
	result outcome
	at     uint64 // its offset, if it is known
}

func (p *publisher) publish() {
	topics := p.stage.topics
	topic := topics[p.dice.n(len(topics))]
	switch p.dice.n(8) {
	case 0, 1:
		topic = busyHall
	case 2:
		topic = busyBook
	}
	// One that is heavy is more than a join is sent, and than a queue takes.
	times, heavy := p.dice.size(20), p.dice.one(30)
	if heavy {
		times = 30
	}
	for range times {
		size := p.dice.size(60_000)
		if heavy {
			size = 60_000
		}
		if !p.say(topic, size, p.dice.one(4)) {
			break
		}
	}
	if p.dice.one(8) {
		all := p.stage.clients
		p.stage.world.disconnect(p.node, all[p.dice.n(len(all))].common().name)
	}
}

// say reports whether what it says is published.
func (p *publisher) say(topic string, size int, ephemeral bool) bool {
	p.n++
	what := said{fmt.Sprint(p.name, ".", p.names), p.n, size}
	result, at := p.stage.world.publish(p.node, topic, what, ephemeral)
	if isRetained(topic) && !ephemeral {
		p.retained = append(p.retained, published{topic, what, result, at.Offset})
	}
	if result == unknown { // it may come later than what is said next
		p.names++
	}
	return result == done
}

// ended counts the end of a connection, or of an attempt, and looks at why.
func (s *stage) ended(p *peer, err error) {
	end := endOf(err)
	kind := fmt.Sprint(end.code, " ", end.reason)
	refused, wasRefused := errors.AsType[*refusedError](err)
	if wasRefused {
		kind = fmt.Sprint("HTTP ", refused.status)
	}
	s.mu.Lock()
	s.ends[kind]++
	s.mu.Unlock()
	switch {
	case p.isStopped(), end.code == 0 && !wasRefused, wasRefused && refused.status == 503:
	case wasRefused && refused.status == http.StatusBadGateway: // the node that has it did not answer
	case wasRefused && refused.status == http.StatusGone: // a poll behind the end of its client socket
	case end.code == 1001, end.code == 1012, end.code == 4001:
	case end.code == 1000 && end.reason == "bye": // which it has said; a client socket that it has would be missing
	case end.code == 1013 && (end.reason == "too much was missed" || end.reason == "too late"): // which is not "too slow"
	default:
		s.fault("%s: ended by %v", p.name, err)
	}
}

// top is the last message of a topic, once all is settled.
func (s *stage) top(topic string) top {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tops[topic]
}
