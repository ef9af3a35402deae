package clientsocket

import (
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/internal/nonblock"
	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// fickle is a connection that takes all, some or nothing, for a while or for ever.
type fickle struct {
	taking
	socket bool // else a stream
	random func(n int) int
	once   sync.Once
	closed chan struct{}
}

func (l *fickle) Transport() stats.Transport {
	if l.socket {
		return stats.WebSocket
	}
	return stats.SSE
}

func (l *fickle) Try(_ *nonblock.Writer, b []byte) (int, error) {
	switch l.random(10) {
	case 0:
		return 0, nil // it would block
	case 1:
		return l.random(len(b) + 1), nil
	case 2:
		if l.random(10) == 0 {
			return 0, errBroken
		}
	}
	return len(b), nil
}

func (l *fickle) Write([]byte) error {
	wait := time.Duration(l.random(100)) * time.Millisecond
	if l.random(50) == 0 {
		wait = time.Minute
	}
	select {
	case <-l.closed:
		return errBroken
	case <-time.After(min(wait, 10*time.Second)):
	}
	if wait == time.Minute {
		return os.ErrDeadlineExceeded
	}
	if l.random(100) == 0 {
		return errBroken
	}
	return nil
}

func (l *fickle) Close() { l.Abort() }
func (l *fickle) Abort() { l.once.Do(func() { close(l.closed) }) }

// TestWhateverBecomesOfAClientItsQueueIsGivenBack opens, sends, resumes, promotes,
// acknowledges, breaks and ends at random. When all have ended no queue holds anything,
// and before that nobody who has nothing to be sent counts as blocked.
func TestWhateverBecomesOfAClientItsQueueIsGivenBack(t *testing.T) {
	seed := need.Seed(t)
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(seed, 0))
		var mu sync.Mutex
		pick := func(n int) int {
			mu.Lock()
			defer mu.Unlock()
			return random.IntN(n)
		}
		cs := clients(t, transport.Limits{QueueBytes: 200_000, TotalQueueBytes: 4 << 20}, nil)
		type open struct {
			c     *ClientSocket
			conns []*Connection
		}
		var all []*open
		line := func() *fickle {
			return &fickle{socket: pick(2) == 0, random: pick, closed: make(chan struct{})}
		}
		forget := func(i int) { all[i] = all[len(all)-1]; all = all[:len(all)-1] }
		for round := range 10_000 {
			if len(all) < 5 || len(all) < 40 && pick(20) == 0 {
				speaks := stats.PhoenixV2
				if pick(3) > 0 {
					speaks = stats.Chime
				}
				c, n := cs.open(t, line(), Opening{Dialect: speaks})
				all = append(all, &open{c, []*Connection{n}})
			}
			i := pick(len(all))
			o := all[i]
			c := o.c
			c.mu.Lock()
			ended, secret, sent := c.ended, c.out.credentials.current, c.out.queue.Sent()
			if is := c.out.credentials.issued; len(is) > 0 && pick(2) == 0 {
				secret = is[pick(len(is))].secret
			}
			if c.out.carrier == nil && c.out.queue.Waiting() == 0 && ended && c.out.queue.Sent() != c.out.queue.Forgotten() {
				t.Errorf("round %d: an ended client socket without a connection has a queue", round)
			}
			c.mu.Unlock()
			if ended {
				forget(i)
				continue
			}
			n := o.conns[pick(len(o.conns))]
			switch pick(12) {
			case 0, 1, 2: // to many
				m := said(pick(1 << pick(17)))
				for _, other := range all {
					if pick(2) == 0 {
						_ = other.c.Send(m, strings.Repeat("1", pick(100)))
					}
				}
			case 3:
				c.Offer(said(pick(5000)), "")
			case 4:
				if c.chime && len(o.conns) < 20 {
					candidate := &Connection{}
					candidate.Init(line())
					if c.Resume(candidate, secret) {
						o.conns = append(o.conns, candidate)
					}
				}
			case 5, 6: // acknowledges on a WebSocket, which may promote it
				n.Receive(ackOf(sent-min(sent, uint64(pick(20)))), 0)
			case 7:
				_, _ = c.Apply(secret, func() (wire.Batch, error) {
					return wire.Batch{Received: sent - min(sent, uint64(pick(20))), First: c.in.received.Load() + 1}, nil
				})
			case 8:
				switch pick(20) {
				case 0:
					n.PeerClosed(wire.CloseNormal)
				case 1:
					n.PeerClosed(wire.CloseCode(4000))
				case 2:
					n.Close(wire.CloseUndecodable, "x")
				case 3:
					c.Close(wire.CloseDisconnect, "x", transport.Kicked)
				case 4:
					c.Drain(1, time.Minute)
				default:
					n.Abort(transport.Vanished)
				}
			case 9:
				if _, alive := n.Watch(15*time.Second, 0, nil, nil); !alive {
					n.Abort(transport.Vanished)
				}
			case 10:
				time.Sleep(time.Duration(pick(1000)) * time.Millisecond)
			case 11:
				if pick(100) == 0 {
					time.Sleep(2 * time.Minute) // grace ends
					synctest.Wait()
					for _, o := range all {
						o.c.mu.Lock()
						if n := o.c.out.carrier; n != nil && n.out.blocked && !n.out.over && o.c.out.queue.Due() == 0 {
							t.Errorf("round %d: a connection with nothing to write counts as blocked", round)
						}
						o.c.mu.Unlock()
					}
				}
			}
		}
		for _, c := range cs.Registry.Drain() {
			c.Close(wire.CloseDrain, "drain", transport.Drained)
		}
		if err := cs.config.Tasks.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if taken := cs.budget.Taken(); taken != 0 {
			t.Errorf("%d bytes are taken when all have ended, want none", taken)
		}
		if left := cs.Registry.Len(); left > 0 {
			t.Errorf("%d client sockets have not ended", left)
		}
	})
}

func ackOf(n uint64) wire.Frame {
	return wire.Frame{Topic: wire.TopicChime, Event: wire.EventAck, Payload: []byte(`{"received":` + strconv.FormatUint(n, 10) + `}`)}
}
