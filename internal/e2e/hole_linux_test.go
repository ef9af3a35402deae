package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/internal/need"
)

// In a black hole packets are lost without a word: no FIN, no RST, and no ACK of
// what is written. The test makes one between two networks that are its own: it
// starts itself in the network of the server, and that once more in the network of
// the clients.
const (
	holeRole   = "CHIME_HOLE"
	nearServer = "server"
	farClients = "clients"
	nearIP     = "10.99.7.1"
	farIP      = "10.99.7.2"
)

// holeTime is how long each may be missed after the hole: a heartbeat, and what it
// is waited for. The machine may be busy.
var holeTime = map[string]time.Duration{"websocket": 35 * time.Second, "stream": 35 * time.Second, "bare": 60 * time.Second}

func TestAPeerInABlackHoleIsMissed(t *testing.T) {
	switch os.Getenv(holeRole) {
	case nearServer:
		serveIntoAHole(t)
	case farClients:
		listenFromAHole(t)
	default:
		network := need.Namespaces(t)
		t.Parallel() // waiting
		cmd := inRole(nearServer)
		cmd.SysProcAttr = network
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v:\n%s", err, out)
		}
	}
}

func inRole(role string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], "-test.run=^TestAPeerInABlackHoleIsMissed$", "-test.timeout=3m")
	cmd.Env = append(os.Environ(), holeRole+"="+role)
	return cmd
}

func ip(t *testing.T, args string) {
	t.Helper()
	if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v %s", args, err, out)
	}
}

type departure struct {
	kind string
	why  channel.Reason
}

type hole struct {
	channel.AnyoneMayJoin
	left chan departure
}

func (hole) HandleMessage(context.Context, *channel.Socket, channel.Message) (any, error) {
	return nil, nil
}

func (h hole) HandleLeave(_ context.Context, s *channel.Socket, why channel.Reason) {
	h.left <- departure{s.Identity().ID, why}
}

// serveIntoAHole serves clients that are in another network, cuts that off, and
// waits until they are missed.
func serveIntoAHole(t *testing.T) {
	clients := inRole(farClients)
	clients.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	orders, err := clients.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	far := start(t, clients)
	ip(t, fmt.Sprintf("link add near type veth peer name far netns %d", clients.Process.Pid))
	ip(t, "addr add "+nearIP+"/24 dev near")
	ip(t, "link set near up")

	h := hole{left: make(chan departure, len(holeTime))}
	live := chime.NewRouter(chime.WithLogger(slog.New(slog.DiscardHandler)), chime.WithGrace(chime.NoGrace),
		chime.WithConnect(func(r *http.Request) (chime.Identity, error) {
			return chime.Identity{ID: r.Header.Get("X-Kind")}, nil
		}))
	live.Channel("room:{id}", h)
	listener, err := net.Listen("tcp", nearIP+":0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: live}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.Serve(listener)
	}()
	defer func() {
		_ = live.Shutdown(context.Background())
		_ = srv.Close()
		<-served
	}()
	fmt.Fprintln(orders, listener.Addr())
	far.line(t, regexp.MustCompile("^all have joined$"))
	fmt.Fprintln(orders, "vanish")
	far.line(t, regexp.MustCompile("^vanished$"))
	began := time.Now()
	deadline := time.After(90 * time.Second)
	for range holeTime {
		select {
		case d := <-h.left:
			if took := time.Since(began); took > holeTime[d.kind]+5*time.Second || d.why != channel.Vanished {
				t.Errorf("%s: left after %v, as %s; want %s after %v at most", d.kind, took, d.why, channel.Vanished, holeTime[d.kind])
			}
		case <-deadline:
			t.Fatal("there are members that nobody can reach")
		}
	}
}

// listenFromAHole opens a connection of each kind, and lets no packet out when it
// is told to vanish.
func listenFromAHole(t *testing.T) {
	orders := bufio.NewScanner(os.Stdin)
	if !orders.Scan() {
		t.Fatal("nobody is there")
	}
	addr := orders.Text()
	ip(t, "addr add "+farIP+"/24 dev far")
	ip(t, "link set far up")
	const join = `["1","1","room:1","phx_join",{}]`
	for kind := range holeTime {
		who := http.Header{"X-Kind": {kind}}
		switch kind {
		case "websocket":
			ws, _, err := websocket.Dial(t.Context(), "ws://"+addr+"/websocket", &websocket.DialOptions{HTTPHeader: who, Subprotocols: []string{"chime.v1"}}) //nolint:bodyclose // it has none
			if err != nil {
				t.Fatal(err)
			}
			if err := ws.Write(t.Context(), websocket.MessageText, []byte(join)); err != nil {
				t.Fatal(err)
			}
			until(t, joined, func() (string, error) {
				_, text, err := ws.Read(t.Context())
				return string(text), err
			})
		case "stream":
			who.Set("Chime-Received", "0")
			lines := bufio.NewReader(ask(t, http.MethodGet, addr+"/sse", "", who))
			next := func() (string, error) { return lines.ReadString('\n') }
			who.Set("Chime-Secret", until(t, regexp.MustCompile(`"secret":"([^"]+)"`), next)[1])
			_, _ = io.Copy(io.Discard, ask(t, http.MethodPost, addr+"/sse", `{"first":1,"received":0,"frames":[`+join+`]}`, who))
			until(t, joined, next)
		case "bare":
			lines := bufio.NewReader(ask(t, http.MethodGet, addr+"/sse?join=room:1", "", who))
			until(t, joined, func() (string, error) { return lines.ReadString('\n') })
		}
	}
	fmt.Println("all have joined")
	orders.Scan()
	ip(t, "route add blackhole "+nearIP+"/32")
	fmt.Println("vanished")
	orders.Scan() // until whoever gives the orders has ended
}

var joined = regexp.MustCompile(`"phx_reply",{"status":"ok"`)

// until reads until something matches, and returns its groups.
func until(t *testing.T, want *regexp.Regexp, next func() (string, error)) []string {
	t.Helper()
	for {
		text, err := next()
		if err != nil {
			t.Fatalf("%v, want %s", err, want)
		}
		if found := want.FindStringSubmatch(text); found != nil {
			return found
		}
	}
}

// ask returns the body of an answer.
func ask(t *testing.T, method, url, body string, header http.Header) io.Reader {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header.Clone()
	res, err := http.DefaultClient.Do(r) //nolint:bodyclose // a stream ends with its connection
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s", method, url, res.Status)
	}
	return res.Body
}
