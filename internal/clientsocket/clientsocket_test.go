package clientsocket

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/internal/stats"

	"github.com/go-chime/chime/internal/leak"
	"github.com/go-chime/chime/internal/nonblock"
	"github.com/go-chime/chime/internal/queue"
	"github.com/go-chime/chime/internal/task"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

func TestMain(m *testing.M) { leak.Main(m) }

// patience is for what must come. Whatever takes longer has failed.
const patience = 30 * time.Second

// clients returns what opens client sockets, and waits for its goroutines at the
// end of the test.
func clients(t *testing.T, limits transport.Limits, accept transport.Acceptor) *Clients {
	t.Helper()
	if accept == nil {
		accept = func(transport.ClientSocket) transport.Receiver { return deaf{} }
	}
	cs := New(Config{Accept: accept, Limits: limits.WithDefaults(), Grace: time.Minute, Heartbeat: 15 * time.Second, Tasks: &task.Group{}})
	t.Cleanup(func() {
		for _, c := range cs.Registry.Drain() {
			c.Close(wire.CloseDrain, "drain", transport.Drained)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := cs.config.Tasks.Wait(ctx); err != nil {
			t.Errorf("goroutines are left: %v", err)
		}
	})
	return cs
}

// open opens a client socket that line carries.
func (cs *Clients) open(t *testing.T, line Line, o Opening) (*ClientSocket, *Connection) {
	t.Helper()
	c, n := &ClientSocket{}, &Connection{}
	n.Init(line)
	o.Context = t.Context()
	if err := cs.Open(c, n, o); err != nil {
		t.Fatal(err)
	}
	return c, n
}

type deaf struct{}

func (deaf) Receive(wire.Frame)                   {}
func (deaf) Finish(time.Duration) <-chan struct{} { return nil }
func (deaf) Closed(transport.Reason)              {}

// taking is a connection that takes all at once.
type taking struct{}

func (taking) Transport() stats.Transport { return stats.SSE }
func (taking) Encode(b []byte, it queue.Item, _ uint64) ([]byte, bool) {
	return it.M.AppendEvent(b), false
}
func (taking) Farewell(b []byte, _ wire.CloseCode, _ string, _ bool) []byte { return append(b, '.') }
func (taking) Open(b []byte) []byte                                         { return b }
func (taking) Seal(b []byte, _ bool) []byte                                 { return b }
func (taking) Try(_ *nonblock.Writer, b []byte) (int, error)                { return len(b), nil }
func (taking) Write([]byte) error                                           { return nil }
func (taking) BoundWrites(time.Duration)                                    {}
func (taking) Close()                                                       {}
func (taking) Abort()                                                       {}

func said(size int) *wire.Message { return wire.NewPush("room:1", "said", make([]byte, size), 0) }

func TestHelloSaysWhatAClientMustKnow(t *testing.T) {
	cs := New(Config{Limits: transport.Limits{MessageBytes: 1000, Topics: 9}.WithDefaults(), Grace: 15 * time.Second, Heartbeat: 15 * time.Second, Tasks: &task.Group{}})
	c := &ClientSocket{}
	cs.init(c, Opening{Dialect: stats.Chime})
	secret := c.out.credentials.current
	text := string(cs.hello(c, &Connection{}, secret, false).AppendText(nil, true, ""))
	want := `[null,null,"chime","hello",{"id":"` + c.id + `","secret":"` + secret + `","heartbeat_ms":15000,"grace_ms":15000,` +
		`"limits":{"message_bytes":1000,"batch_bytes":262144,"batch_messages":100,"topics":9},` +
		`"transports":["websocket","sse","longpoll"],"resumed":false,"received":0,"sent":0}]`
	if text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	if !json.Valid([]byte(text)) || len(secret) < 22 || strings.Contains(secret, c.id) {
		t.Errorf("id %q and secret %q: want a secret of 128 bits at least, and JSON", c.id, secret)
	}
	other := &ClientSocket{}
	cs.init(other, Opening{Dialect: stats.Chime})
	if other.id == c.id || other.out.credentials.current == secret {
		t.Error("two clients have the same id or secret")
	}
}

// broken is a connection whose writes fail, some bytes into a frame.
type broken struct {
	taking
	mu     sync.Mutex // guards what follows
	failed bool
	later  int // writes after one that has failed
}

var errBroken = errors.New("broken")

// Try leaves all to a write that may block.
func (l *broken) Try(*nonblock.Writer, []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed {
		l.later++
	}
	return 0, nil
}

func (l *broken) Write([]byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed {
		l.later++
	}
	l.failed = true
	return errBroken
}

// What follows half a frame would be taken for its other half.
func TestNothingIsWrittenAfterAWriteThatFailed(t *testing.T) {
	m := wire.NewPush("room:1", "said", []byte("{}"), 0)
	for round := range need.Rounds(50, 300) {
		cs := clients(t, transport.Limits{}, nil)
		l := &broken{}
		c, _ := cs.open(t, l, Opening{})
		var sending sync.WaitGroup
		const most = 1_000_000 // the first write fails, and that ends the client socket
		for range 4 {
			sending.Go(func() {
				for n := range most {
					if c.Send(m, "") != nil {
						return
					}
					if n == most-1 {
						t.Error("Send goes on after a write has failed, want an error")
					}
				}
			})
		}
		sending.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		err := cs.config.Tasks.Wait(ctx)
		cancel()
		if err != nil {
			t.Fatalf("round %d: goroutines are left: %v", round, err)
		}
		if l.later > 0 {
			t.Fatalf("round %d: %d writes after one that had failed", round, l.later)
		}
	}
}

// greedy takes whatever is written to it, at once, and notes its name.
type greedy struct {
	taking
	name   string
	begin  chan struct{} // the first write waits for it
	writes *[]string     // in the order of all lines
}

func (l *greedy) Try(_ *nonblock.Writer, b []byte) (int, error) {
	<-l.begin
	*l.writes = append(*l.writes, l.name)
	return len(b), nil
}

// A flusher writes for many. Where one has much to be written, and takes it as
// fast as it comes, the others are not kept waiting until it has all.
func TestNoConnectionKeepsAFlusherForItself(t *testing.T) {
	cs := clients(t, transport.Limits{QueueBytes: 1 << 30, TotalQueueBytes: 8 << 30}, nil)
	var writes []string
	begin := make(chan struct{})
	for _, who := range []struct {
		name     string
		messages int
	}{{"much", 1000}, {"little", 1}} {
		c, _ := cs.open(t, &greedy{name: who.name, begin: begin, writes: &writes}, Opening{})
		c.flusher = &cs.flushers[0]
		m := said(10_000)
		for range who.messages {
			if err := c.Send(m, ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	close(begin)
	for _, c := range cs.Registry.Drain() {
		for {
			c.mu.Lock()
			done := c.out.queue.Due() == 0 && !c.out.carrier.out.writing
			c.mu.Unlock()
			if done {
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
	if i := slices.Index(writes, "little"); i < 0 || i*maxWrite > 2*maxShare || i == len(writes)-1 {
		t.Errorf("of %d writes the one for the connection with little is number %d", len(writes), i+1)
	}
}
