package server_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/internal/server"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// slack is for goroutines of the runtime, which come and go.
const slack = 5

func TestADetachedClientSocketHasNoGoroutine(t *testing.T) {
	onBoth(t, server.Config{}, func(t *testing.T, h *hall, kind string) {
		const clients = 1000
		synctest.Wait()
		before := goroutines()
		for range clients {
			cr, a := begin(t, h, knock{transport: kind})
			cr.plug.kill()
			synctest.Wait()
			tell(t, a, 2) // what is queued waits without one, too
		}
		synctest.Wait()
		if n := h.server.Len(); n != clients {
			t.Fatalf("Len is %d, want %d", n, clients)
		}
		if n := goroutines(); n > before+slack {
			t.Errorf("%d goroutines, %d before there were %d detached client sockets", n, before, clients)
		}
	})
}

// One that is connected and idle has the one that reads, also when heartbeats go
// to it and nothing else.
func TestAnIdleClientSocketHasOneGoroutine(t *testing.T) {
	onBoth(t, server.Config{}, func(t *testing.T, h *hall, kind string) {
		const clients = 200
		for range clients {
			cr, a := begin(t, h, knock{transport: kind})
			tell(t, a, 2)
			go func() { // as a client does, and ends with its connection
				for {
					if _, _, err := cr.read(); err != nil {
						return
					}
					if cr.ws != nil {
						_ = cr.ws.write(fin|opText, ack(1))
					}
				}
			}()
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if n := ours(); n != clients {
			t.Errorf("%d goroutines for %d idle client sockets, want one each", n, clients)
		}
		h.net.end()
	})
}

// ours counts the goroutines that are at work in this package and those below.
func ours() int {
	n := 0
	for stack := range strings.SplitSeq(stacks(), "\n\n") {
		if inServer(stack) {
			n++
		}
	}
	return n
}

func TestAfterAStormAllIsAsItWas(t *testing.T) {
	clients := need.Rounds(200, 1000)
	const storms, tolerance = 3, 512 << 10
	inHall(t, server.Config{}, func(t *testing.T, h *hall) {
		storm(t, h, clients) // a map keeps the size that it once had
		before, heap := goroutines(), heapBytes()
		for range storms {
			storm(t, h, clients)
		}
		if n := h.server.Len(); n != 0 {
			t.Errorf("Len is %d, want 0", n)
		}
		if n := goroutines(); n > before+slack {
			t.Errorf("%d goroutines, %d before", n, before)
		}
		if now := heapBytes(); now > heap+tolerance {
			t.Errorf("%d bytes of heap, %d before", now, heap)
		}
	})
}

// storm opens client sockets, breaks their connections, resumes them on the
// other transport and on the same, gives them up, and waits for their end.
func storm(t *testing.T, h *hall, clients int) {
	t.Helper()
	other := map[string]string{transport.WebSocket: transport.SSE, transport.SSE: transport.WebSocket}
	apps := make([]*app, clients)
	for i := range clients {
		kind := bothTransports[i%2]
		cr := mustOpen(t, h, knock{transport: kind})
		apps[i] = <-h.apps
		for n := range 3 {
			tell(t, apps[i], n)
			synctest.Wait()
			cr.plug.kill()
			_ = cr.plug.Close()
			if kind = other[kind]; n == 1 {
				kind = other[kind]
			}
			if cr = mustOpen(t, h, knock{transport: kind, secret: cr.hello.Secret, received: uint64(n)}); !cr.hello.Resumed {
				t.Fatal("hello has resumed false, want true")
			}
			if n < 2 || i%3 > 0 { // the last stays a candidate in some
				cr.promote(t, h, uint64(n))
			}
		}
		if i%5 > 0 {
			cr.plug.kill()
		} else { // it says goodbye
			_, _, _ = h.post("/bye", "", "", cr.hello.Secret, fault{})
		}
		_ = cr.plug.Close()
	}
	for _, a := range apps {
		<-a.closed
	}
	time.Sleep(time.Minute) // for what hangs up
	synctest.Wait()
}

// mustOpen is open without what a test keeps to its end.
func mustOpen(t *testing.T, h *hall, k knock) *carrier {
	t.Helper()
	cr, err := h.open(k)
	if err != nil {
		t.Fatalf("%s: %v", k.transport, err)
	}
	return cr
}

// goroutines counts those that can be seen. NumGoroutine is out by dozens for a
// moment when the runtime moves those that have ended from list to list.
func goroutines() int { return strings.Count(stacks(), "\n\ngoroutine ") + 1 }

// stacks returns those of all goroutines.
func stacks() string {
	b := make([]byte, 1<<20)
	n := runtime.Stack(b, true)
	for n == len(b) { // perhaps cut off
		b = make([]byte, 2*len(b))
		n = runtime.Stack(b, true)
	}
	return string(b[:n])
}

func heapBytes() uint64 {
	runtime.GC()
	runtime.GC() // what the pools held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// What a client can make the server hold by never acknowledging, and then by
// staying away: all that may be written, and all that may wait. Each message
// here is one client's own, and held as its payload and as what was written.
func TestWhatIsKeptForAClientIsBounded(t *testing.T) {
	const clients = 20
	limits := transport.Limits{QueueBytes: 1 << 20}.WithDefaults()
	for _, kind := range bothTransports {
		for _, size := range []int{10, 1 << 10, 30 << 10} {
			t.Run(fmt.Sprintf("%s/%d", kind, size), func(t *testing.T) {
				sockets := make(chan transport.ClientSocket, clients)
				cfg := server.Config{Limits: limits, Accept: func(cs transport.ClientSocket) transport.Receiver {
					sockets <- cs
					return deafTo{}
				}}
				inHall(t, cfg, func(t *testing.T, h *hall) {
					before := heapBytes()
					bound := func(what string, bytes int) {
						t.Helper()
						if n := h.server.Len(); n != clients {
							t.Fatalf("Len is %d, want %d", n, clients)
						}
						each := (int64(heapBytes()) - int64(before)) / clients
						if most := int64(3 * bytes); each > most {
							t.Errorf("%s: %d bytes are kept for each client, want at most %d", what, each, most)
						}
						t.Logf("%s: %d bytes for each client", what, each)
					}
					var all []transport.ClientSocket
					for range clients {
						cr := mustOpen(t, h, knock{transport: kind})
						cs := <-sockets
						for range min(1500, 1<<20/size) {
							mustSend(t, cs, pad(size))
							if _, _, err := cr.read(); err != nil {
								t.Fatal(err)
							}
						}
						cr.plug.kill()
						_ = cr.plug.Close()
						all = append(all, cs)
					}
					synctest.Wait()
					bound("written", limits.UnackedBytes)
					for _, cs := range all {
						for range limits.QueueBytes / pad(size).Size() {
							mustSend(t, cs, pad(size))
						}
					}
					bound("written, and waiting", limits.UnackedBytes+limits.QueueBytes)
					for _, cs := range all {
						if err := cs.Send(pad(size), ""); !errors.Is(err, transport.ErrSlow) {
							t.Fatalf("one more: got %v, want %v", err, transport.ErrSlow)
						}
					}
				})
			})
		}
	}
}

type deafTo struct{}

func (deafTo) Receive(wire.Frame)                   {}
func (deafTo) Finish(time.Duration) <-chan struct{} { return nil }
func (deafTo) Closed(transport.Reason)              {}

// pad is a push with so many bytes in its payload.
func pad(size int) *wire.Message {
	return wire.NewPush("room:1", "said", []byte(`{"pad":"`+strings.Repeat("x", size)+`"}`), 0)
}

func mustSend(t *testing.T, cs transport.ClientSocket, m *wire.Message) {
	t.Helper()
	if err := cs.Send(m, ""); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkDetached reports what a client socket without a connection costs,
// in bytes of heap after a collection: one to which little was said, and one
// that has not acknowledged 64 broadcasts, as many as a client may leave so.
// The broadcasts themselves are shared, and not in it.
func BenchmarkDetached(b *testing.B) {
	const clients = 2000
	for _, kind := range bothTransports {
		for _, unacked := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/unacked=%d", kind, unacked), func(b *testing.B) {
				for range b.N {
					b.ReportMetric(detachedBytes(b, clients, kind, unacked), "B/client")
				}
			})
		}
	}
}

func detachedBytes(b *testing.B, clients int, kind string, unacked int) float64 {
	b.Helper()
	sockets := make(chan transport.ClientSocket, 1)
	h, err := newHall(server.Config{Grace: 2 * time.Minute, Accept: func(cs transport.ClientSocket) transport.Receiver {
		sockets <- cs
		return deafTo{}
	}})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = h.close() }()
	broadcasts := make([]*wire.Message, unacked)
	for i := range broadcasts {
		broadcasts[i] = wire.NewPush("room:1", "said", []byte(`{"text":"hello"}`), 0)
	}
	goroutines, before := runtime.NumGoroutine(), heapBytes()
	for range clients {
		cr, err := h.open(knock{transport: kind})
		if err != nil {
			b.Fatal(err)
		}
		cs := <-sockets
		for _, m := range broadcasts {
			if err := cs.Send(m, ""); err != nil {
				b.Fatal(err)
			}
			if _, _, err := cr.read(); err != nil {
				b.Fatal(err)
			}
		}
		cr.plug.kill()
		_ = cr.plug.Close()
	}
	for runtime.NumGoroutine() > goroutines {
		runtime.Gosched()
	}
	each := (float64(heapBytes()) - float64(before)) / float64(clients)
	if n := h.server.Len(); n != clients {
		b.Fatalf("Len is %d, want %d", n, clients)
	}
	return each
}
