package server_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/internal/server"
	"github.com/go-chime/chime/transport"
)

// kills are how a WebSocket ends here: after something was written, and before
// who wrote it can know that it has arrived.
var kills = []struct {
	name    string
	arrives bool // the frame of the client: the server has it
	kill    func(*killing)
}{
	{"a frame has arrived and its reply has not", true, func(k *killing) {
		k.write(k.frame())
		synctest.Wait()
	}},
	{"half a frame has arrived", false, func(k *killing) {
		f := frame(fin|opText, k.frame())
		k.writeRaw(f[:1+k.n%(len(f)-1)])
		synctest.Wait()
	}},
	{"a push was read and not acknowledged", false, func(k *killing) {
		k.say()
		k.read()
	}},
	{"a push was written and not read", false, func(k *killing) {
		k.say()
		synctest.Wait()
	}},
	{"both", true, func(k *killing) {
		k.say()
		k.write(k.frame())
		synctest.Wait()
		k.read()
	}},
}

// killing is a client by hand that trusts what hello says.
type killing struct {
	t        *testing.T
	app      *app
	cr       *carrier
	n        int      // kills so far
	pushed   []string // payloads
	received []string // frames
}

// frame is the next frame of the client.
func (k *killing) frame() string {
	n := len(k.pushed)
	return fmt.Sprintf(`["1","%d","room:1","say",{"n":%d}]`, n, n)
}

func (k *killing) writeRaw(b []byte) {
	if _, err := k.cr.plug.Write(b); err != nil {
		k.t.Fatalf("kill %d: %v", k.n, err)
	}
}

func (k *killing) write(text string) { k.writeRaw(frame(fin|opText, text)) }

func (k *killing) say() {
	if _, err := k.app.say(k.n); err != nil {
		k.t.Fatalf("kill %d: %v", k.n, err)
	}
}

func (k *killing) read() {
	_, text, err := k.cr.read()
	if err != nil {
		k.t.Fatalf("kill %d: %v", k.n, err)
	}
	k.received = append(k.received, text)
}

func TestAWebSocketKilledBetweenAWriteAndItsAcknowledgementLosesNothing(t *testing.T) {
	t.Parallel()
	rounds := need.Rounds(1000, 10_000)
	// In a bubble all of it happens in a moment.
	limits := transport.Limits{FramesPerSecond: transport.NoLimit}
	inHall(t, server.Config{Limits: limits}, func(t *testing.T, h *hall) {
		h.answers = true
		cr, err := h.open(knock{transport: transport.WebSocket})
		if err != nil {
			t.Fatal(err)
		}
		k := &killing{t: t, app: <-h.apps, cr: cr}
		for ; k.n < rounds; k.n++ {
			how := kills[k.n%len(kills)]
			how.kill(k)
			k.cr.plug.kill()
			again := k.frame()
			k.pushed = append(k.pushed, fmt.Sprintf(`{"n":%d}`, len(k.pushed)))
			if k.cr, err = h.open(knock{transport: transport.WebSocket, secret: k.cr.hello.Secret}); err != nil {
				t.Fatalf("kill %d, %s: %v", k.n, how.name, err)
			}
			hello := k.cr.hello
			want := uint64(len(k.pushed))
			if !how.arrives {
				want--
			}
			if !hello.Resumed || hello.Received != want {
				t.Fatalf("kill %d, %s: hello has resumed %v and received %d, want true and %d", k.n, how.name, hello.Resumed, hello.Received, want)
			}
			k.write(ack(uint64(len(k.received))))
			if !how.arrives {
				k.write(again)
			}
			synctest.Wait()
			for len(k.received) < k.app.saidSoFar() {
				k.read()
			}
		}
		if got := k.app.heard(); !slices.Equal(got, k.pushed) {
			t.Errorf("the server heard %s", difference(got, k.pushed))
		}
		if want := k.app.said(); !slices.Equal(k.received, want) {
			t.Errorf("the client heard %s", difference(k.received, want))
		}
		if n := len(h.apps); n > 0 {
			t.Errorf("%d more client sockets were opened", n)
		}
		_ = k.cr.plug.Close()
	})
}
