package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/internal/redistest"
)

// nodes are several processes of serve, in one directory.
type nodes struct {
	t     *testing.T
	dir   string
	args  [][]string // of each
	nodes []*node
}

// node is one process.
type node struct {
	*running
	url string
	mu  sync.Mutex // guards log
	log strings.Builder
	end sync.WaitGroup
}

// Write implements io.Writer, for what the process logs.
func (n *node) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.log.Write(p)
}

// wait returns how it ended.
func (n *node) wait() error {
	n.end.Wait()
	return n.cmd.Wait()
}

// engines are what three nodes can be joined by.
var engines = map[string]func(t *testing.T, ns *nodes){
	"embedded-nats": func(t *testing.T, ns *nodes) { // as README says, but for the addresses
		page, err := os.ReadFile("../../README.md")
		if err != nil {
			t.Fatal(err)
		}
		free := map[string]string{}
		for line := range strings.Lines(string(page)) {
			words := strings.Fields(line)
			if len(words) < 2 || words[0] != "chime" || words[1] != "serve" || !slices.Contains(words, embeddedNATS) {
				continue
			}
			ns.args = append(ns.args, strings.Fields(loopbackAddress.ReplaceAllStringFunc(strings.Join(words[2:], " "), func(at string) string {
				if free[at] == "" {
					free[at] = need.Free(t)
				}
				return free[at]
			})))
		}
		if len(ns.args) != 3 || len(free) != 6 {
			t.Fatalf("README.md has %d commands with %s and %d addresses, want 3 and 6", len(ns.args), embeddedNATS, len(free))
		}
	},
	"redis": func(t *testing.T, ns *nodes) {
		url := redistest.Start(t).URL()
		for range 3 {
			ns.args = append(ns.args, []string{"--broker", url, "--addr", need.Free(t)})
		}
	},
}

var loopbackAddress = regexp.MustCompile(`127\.0\.0\.1:\d+`)

// startNodes returns when all of them are open.
func startNodes(t *testing.T, engine string) *nodes {
	t.Helper()
	ns := &nodes{t: t, dir: t.TempDir()}
	engines[engine](t, ns)
	for range ns.args {
		ns.nodes = append(ns.nodes, nil)
	}
	t.Cleanup(func() {
		for i, n := range ns.nodes {
			if n == nil {
				continue
			}
			_ = n.cmd.Process.Kill()
			_ = n.wait()
			if t.Failed() {
				t.Logf("node %d: %s", i, &n.log)
			}
		}
	})
	for i := range ns.args {
		ns.start(i)
	}
	for i := range ns.nodes {
		ns.opened(i)
	}
	return ns
}

func (ns *nodes) start(i int) {
	n := &node{running: programIn(ns.t, ns.dir, append([]string{"serve"}, ns.args[i]...)...)}
	n.end.Go(func() { _, _ = io.Copy(n, n.stderr) })
	ns.nodes[i] = n
}

// opened waits until a node is open.
func (ns *nodes) opened(i int) {
	ns.t.Helper()
	n := ns.nodes[i]
	for n.url == "" {
		line, err := n.stdout.ReadString('\n')
		if _, url, ok := strings.Cut(line, " open at "); ok {
			n.url = strings.TrimSpace(url)
		}
		if err != nil {
			_ = n.wait()
			ns.t.Fatalf("node %d: %v: %s", i, err, &n.log)
		}
	}
	n.end.Go(func() { _, _ = io.Copy(n, n.stdout) })
}

// healthy waits until a node says that it is.
func (ns *nodes) healthy(i int) {
	ns.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	var said string
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		resp, err := client.Get(ns.nodes[i].url + "/healthz")
		if err != nil {
			said = err.Error()
			continue
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if said = string(body); resp.StatusCode == http.StatusOK {
			return
		}
	}
	ns.t.Fatalf("node %d is not healthy: %s", i, said)
}

// Three processes are one chat: whoever is on one hears what is said on another, whoever comes
// to the third sees it, one ends and comes back and one is killed, and nobody misses anything.
func TestThreeNodesAreOneChat(t *testing.T) {
	t.Parallel() // it waits
	for engine := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			ns := startNodes(t, engine)
			talkOverNodes(t, ns)

			clients, rooms := need.Rounds(10, 100), 2
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			base := ns.balance()
			r := &restart{t: t, base: base, host: strings.TrimPrefix(base, "http://"), said: make([]int, rooms), hasty: !need.All()}
			r.say(ctx, rooms) // so that each has a position
			leave := r.enter(ctx, clients, rooms)
			defer leave()
			r.until(ctx, "all have joined", func(g *visitor) bool { return g.joins == 1 })
			enough := r.publish(ctx, rooms)
			defer enough()

			begun := time.Now()
			if err := ns.nodes[2].cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := ns.nodes[2].wait(); err != nil {
				t.Errorf("the exit status of a node that is asked to end: got %v, want 0", err)
			}
			t.Logf("it ended after %v", time.Since(begun).Round(time.Millisecond))
			r.all(ctx, "all go on without the one that has ended")
			if engine == "redis" || need.All() { // three servers take up to 9 s to have another leader
				ns.start(2)
				ns.opened(2)
				ns.healthy(2)
				if err := ns.nodes[1].cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				_ = ns.nodes[1].wait()
				r.all(ctx, "all go on without the one that was killed")
			}
			enough()
			r.until(ctx, "all have what was said last", func(g *visitor) bool { return g.last >= r.said[g.room] })
			leave()
			ns.wantNoSecret()
		})
	}
}

// all waits until each client has something that was said after now.
func (r *restart) all(ctx context.Context, what string) {
	r.t.Helper()
	last := map[*visitor]int{}
	for _, g := range r.visitors {
		g.mu.Lock()
		for _, other := range r.visitors {
			if other.room == g.room {
				last[other] = max(last[other], g.last)
			}
		}
		g.mu.Unlock()
	}
	r.until(ctx, what, func(g *visitor) bool { return g.last > last[g]+2 })
}

// talkOverNodes has two talk on two nodes, and a third read it on the third.
func talkOverNodes(t *testing.T, ns *nodes) {
	pass, who := enter(t, ns.nodes[0].url, "Ann")
	ann := connect(t, ns.nodes[1].url, pass) // which is good for all nodes
	ann.join("hall")
	bob := connect(t, ns.nodes[0].url, "")
	bob.join("hall")
	hello := fmt.Sprintf(`{"name":"Ann","by":%q,"message":"hello","id":"1"}`, who.ID)
	ann.send("hall", "message_new", hello)
	for event := ""; event != `"message_new"`; { // after who has come
		f := receive(t, bob.frames)
		if f == nil {
			t.Fatal("the stream ended")
		}
		event = string(f[3])
	}
	cid := connect(t, ns.nodes[2].url, pass)
	cid.join("hall")
	cid.want("message_new", hello)
}

// wantNoSecret looks for what the nodes know and must not tell.
func (ns *nodes) wantNoSecret() {
	ns.t.Helper()
	file := filepath.Join(ns.dir, "chime.secret")
	known, err := readSecret(file)
	if err != nil {
		ns.t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		ns.t.Errorf("%s: got %v, %v; want it for this user alone", file, info.Mode(), err)
	}
	for i, n := range ns.nodes {
		n.mu.Lock()
		defer n.mu.Unlock()
		if log := n.log.String(); strings.Contains(log, string(known)) || strings.Contains(log, known.password("nats")) {
			ns.t.Errorf("node %d tells the secret: %s", i, log)
		}
	}
}

// balance returns the URL of a balancer that gives each connection to the next node that
// listens, whoever it is of.
func (ns *nodes) balance() string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		ns.t.Fatal(err)
	}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	ns.t.Cleanup(func() {
		cancel()
		_ = listener.Close()
		wg.Wait()
	})
	var hosts []string
	for _, n := range ns.nodes {
		hosts = append(hosts, strings.TrimPrefix(n.url, "http://"))
	}
	wg.Go(func() {
		for next := 0; ; next++ {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { carry(ctx, conn, append(hosts[next%len(hosts):len(hosts):len(hosts)], hosts...)) })
		}
	})
	return "http://" + listener.Addr().String()
}

// carry joins a connection with one to the first of hosts that listens.
func carry(ctx context.Context, conn net.Conn, hosts []string) {
	defer conn.Close()
	for _, host := range hosts {
		to, err := net.Dial("tcp", host)
		if err != nil {
			continue
		}
		defer to.Close()
		defer context.AfterFunc(ctx, func() { _ = conn.Close(); _ = to.Close() })()
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = io.Copy(to, conn); _ = to.Close() })
		_, _ = io.Copy(conn, to)
		_ = conn.Close()
		wg.Wait()
		return
	}
}

// A node that has lost its broker says so, and ends in the time that it has all the same.
func TestANodeWithoutItsBroker(t *testing.T) {
	t.Parallel() // it waits
	engine := redistest.Start(t)
	ns := &nodes{t: t, dir: t.TempDir(), nodes: []*node{nil}}
	ns.args = [][]string{{"--addr", need.Free(t), "--broker", engine.URL()}}
	ns.start(0)
	ns.opened(0)
	ns.healthy(0)
	ann := connect(t, ns.nodes[0].url, "")
	ann.join("hall")
	engine.Kill(t)
	says := func() string {
		resp, err := http.Get(ns.nodes[0].url + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return fmt.Sprint(resp.StatusCode, " ", string(body))
	}
	for deadline := time.Now().Add(time.Minute); says() != "503 broker: can't be reached\n"; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("got %q, want a 503", says())
		}
	}
	http.DefaultClient.CloseIdleConnections()
	begun := time.Now()
	if err := ns.nodes[0].cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := ns.nodes[0].wait(); err != nil {
		t.Errorf("the exit status: got %v, want 0", err)
	}
	ann.wantEnd()
	if took := time.Since(begun); took > stopTime+lastTime+2*time.Second {
		t.Errorf("it ended after %v, want what docs/operations.md says", took)
	}
	t.Logf("it ended after %v", time.Since(begun).Round(time.Millisecond))
}

// Who ends a node that waits for others need not wait with it.
func TestANodeThatWaitsForOthersEnds(t *testing.T) {
	t.Parallel() // it waits
	node := programIn(t, t.TempDir(), "serve", "--addr", need.Free(t), "--broker", embeddedNATS, "--cluster", need.Free(t), "--peers", need.Free(t)+","+need.Free(t))
	node.until(t, node.stdout, "This node waits for those at 127.")
	if err := node.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := node.wait(); err != nil {
		t.Errorf("the exit status: got %v, want 0", err)
	}
}
