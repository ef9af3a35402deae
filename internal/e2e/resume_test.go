package e2e

import (
	"io"
	"math/rand/v2"
	"net"
	"os/exec"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/go-chime/chime/internal/need"
)

// What chime.js is given to travel with.
var travels = []string{"websocket", "sse", "auto"}

// TestCutsAreNotNoticed has each connection of two people break after some
// bytes, while they talk, and on all transports: what they say is heard once and
// in order, by both and by a third, who does not see them leave.
func TestCutsAreNotNoticed(t *testing.T) {
	eachTravel(t, "a network that cuts every connection", func(t *testing.T, s *server, f *frail, p *process) {
		p.line(t, regexp.MustCompile(`^cut$`))
		f.cutting(true)
		p.line(t, regexp.MustCompile(`^mend$`))
		f.cutting(false)
		t.Logf("%d cuts", f.count())
		if cuts := f.count(); cuts < 20 {
			t.Errorf("got %d connections cut, want 20 at least", cuts)
		}
	})
}

func TestAwayWithinAndBeyondGrace(t *testing.T) {
	eachTravel(t, "a network that is gone for a while", func(t *testing.T, s *server, f *frail, p *process) {
		for range 2 {
			p.line(t, regexp.MustCompile(`^offline$`))
			f.unplug(true)
			p.line(t, regexp.MustCompile(`^online$`))
			f.unplug(false)
		}
	})
}

func TestKilledServerLeavesNothingUntold(t *testing.T) {
	eachTravel(t, "a server that is killed", func(t *testing.T, s *server, f *frail, p *process) {
		p.line(t, regexp.MustCompile(`^kill$`))
		s.kill(t)
		s.start(t)
	})
}

// eachTravel runs a behaviour of resume.mjs on each transport, on a server and a
// frail network of its own, while play has done to those what it asks for.
func eachTravel(t *testing.T, behaviour string, play func(t *testing.T, s *server, f *frail, p *process)) {
	node := need.Program(t, "node")
	need.Path(t, "node_modules/ws", "run make deps")
	for _, transport := range travels {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()                     // mostly waiting
			seed := need.Seed(t) % (1 << 32) // a number of JavaScript
			s := serve(t)
			f := before(t, s.addr, seed)
			p := start(t, exec.Command(node, "resume.mjs", behaviour, transport, s.url, "http://"+f.addr(), strconv.FormatUint(seed, 10)))
			play(t, s, f, p)
			if err := p.wait(t); err != nil {
				t.Errorf("%s: %v", behaviour, err)
			}
		})
	}
}

// kill ends the server as a power cut does.
func (s *server) kill(t testing.TB) {
	t.Helper()
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-s.done
}

// frail is a network before a server.
type frail struct {
	listener net.Listener
	to       string
	tasks    sync.WaitGroup

	mu        sync.Mutex // guards what follows
	random    *rand.Rand
	links     map[*link]bool
	cuts      bool
	cut       int
	unplugged bool
}

// link is one connection through it.
type link struct {
	ends [2]net.Conn
	left int // bytes, both ways, until it breaks; guarded by frail.mu
}

// before puts a frail network before addr, which does not fail yet.
func before(t testing.TB, addr string, seed uint64) *frail {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &frail{listener: l, to: addr, random: rand.New(rand.NewPCG(seed, 0)), links: map[*link]bool{}}
	f.tasks.Go(f.accept)
	t.Cleanup(func() {
		_ = l.Close() // it was open
		f.unplug(true)
		f.tasks.Wait()
	})
	return f
}

func (f *frail) addr() string { return f.listener.Addr().String() }

// count returns how many connections have been cut.
func (f *frail) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cut
}

// cutting has each connection break after some bytes, or no more.
func (f *frail) cutting(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cuts = on
	for l := range f.links {
		l.left = f.budget()
	}
}

// budget is called with mu held.
func (f *frail) budget() int { return 200 + f.random.IntN(8_000) }

// unplug breaks all connections and lets no new one through, or lets them.
func (f *frail) unplug(yes bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unplugged = yes
	if yes {
		for l := range f.links {
			l.close()
		}
	}
}

func (f *frail) accept() {
	for {
		from, err := f.listener.Accept()
		if err != nil {
			return
		}
		f.tasks.Go(func() { f.carry(from) })
	}
}

// carry carries one connection until either end, or chance, breaks it.
func (f *frail) carry(from net.Conn) {
	to, err := net.DialTimeout("tcp", f.to, time.Second)
	if err != nil {
		_ = from.Close() // as if there had been no server here either
		return
	}
	l := &link{ends: [2]net.Conn{from, to}}
	f.mu.Lock()
	l.left = f.budget()
	f.links[l] = true
	if f.unplugged {
		l.close()
	}
	f.mu.Unlock()
	var ways sync.WaitGroup
	ways.Go(func() { f.copy(l, to, from) })
	ways.Go(func() { f.copy(l, from, to) })
	ways.Wait()
	f.mu.Lock()
	delete(f.links, l)
	f.mu.Unlock()
}

func (f *frail) copy(l *link, to io.Writer, from io.Reader) {
	defer l.close()
	buf := make([]byte, 2_000)
	for {
		n, err := from.Read(buf)
		n, broke := f.spend(l, n)
		if _, failed := to.Write(buf[:n]); err != nil || failed != nil || broke {
			return
		}
	}
}

// spend returns how many of n bytes still get through.
func (f *frail) spend(l *link, n int) (through int, broke bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.cuts {
		return n, false
	}
	if n < l.left {
		l.left -= n
		return n, false
	}
	n, l.left = max(l.left, 0), 0
	f.cut++
	return n, true
}

func (l *link) close() {
	for _, end := range l.ends {
		_ = end.Close() // it may be closed from the other side
	}
}
