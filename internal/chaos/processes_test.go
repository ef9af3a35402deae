package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/store"
)

// processes are a world of three nodes, each a process, over an engine that is one or more of
// its own. Nodes are killed, stop for a while, and shut down; the engine is hurt; and what is
// between any two of them is cut.
type processes struct {
	*testing.T
	trials
	stage  *stage
	engine engine
	began  time.Time
	nodes  []*nodeProcess
	http   http.Client

	mu     sync.Mutex // guards what follows
	ails   []ailment
	counts map[string]int // of what befell
}

// trials are how much befalls processes.
type trials struct {
	giveUp, grace time.Duration
	stops         time.Duration // of a node, at most
	cuts          time.Duration // at most
}

// ailment is a time in which something befell a world.
type ailment struct{ from, to time.Time }

// aftermath is how long something fails after what befell is over: servers elect a leader, and
// nodes connect again.
const aftermath = 20 * time.Second

// nodeProcess is where a node is: one process after the other.
type nodeProcess struct {
	world    *processes
	address  string
	toEngine []*way
	toNodes  map[string]*way // by their addresses

	mu    sync.Mutex // guards what follows
	part  *part
	began int
}

func threeProcesses(s *stage, e engine, c trials) world {
	s.Helper()
	w := &processes{T: s.T, stage: s, trials: c, engine: e, began: time.Now(), counts: map[string]int{}}
	w.http.Transport = &http.Transport{MaxIdleConnsPerHost: 16}
	for range 3 {
		n := &nodeProcess{world: w, address: need.Free(s.T), toNodes: map[string]*way{}}
		for _, at := range e.addresses() {
			n.toEngine = append(n.toEngine, newWay(s.T, at))
		}
		w.nodes = append(w.nodes, n)
	}
	for _, n := range w.nodes {
		for _, other := range w.nodes {
			if other != n {
				n.toNodes[other.address] = newWay(s.T, other.address)
			}
		}
	}
	for _, n := range w.nodes {
		n.start()
	}
	for _, n := range w.nodes {
		n.opened()
	}
	w.heal()
	return w
}

func (w *processes) addresses() (list []string) {
	for _, n := range w.nodes {
		list = append(list, n.address)
	}
	return list
}

// start begins a process for the node.
func (n *nodeProcess) start() {
	n.mu.Lock()
	defer n.mu.Unlock()
	w := n.world
	n.began++
	setup := nodeSetup{
		Name: fmt.Sprintf("node-%d-%d", slices.Index(w.nodes, n), n.began), Address: n.address,
		GiveUp: w.giveUp, Grace: w.grace, Ways: map[string]string{},
	}
	var ways []string
	for _, one := range n.toEngine {
		ways = append(ways, one.address())
	}
	setup.Engine = w.engine.setup(ways)
	for at, one := range n.toNodes {
		setup.Ways[at] = one.address()
	}
	n.part = begin(w.T, "node", setup.Name, setup, func(line []byte) {
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			w.Errorf("%s writes %q: %v", setup.Name, line, err)
			return
		}
		w.stage.books.note(e)
	})
}

// opened waits until the process serves.
func (n *nodeProcess) opened() {
	w := n.world
	line, err := n.now().opened()
	var first ready
	if err == nil {
		err = json.Unmarshal([]byte(line), &first)
	}
	if err != nil {
		w.Error(err)
	} else if want := w.engine.survives(); first.Survives != want {
		w.Errorf("%s: a message survives %v, want %v", n.now().name, first.Survives, want)
	}
}

func (n *nodeProcess) now() *part {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.part
}

// kill ends the process without a word.
func (n *nodeProcess) kill() {
	p := n.now()
	p.kill()
	n.world.stage.books.bury(p.name)
}

// call asks a node for something.
func (n *nodeProcess) call(ctx context.Context, name string, query url.Values, body, answer any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+n.address+"/control/"+name+"?"+query.Encode(), bytes.NewReader(text))
	if err != nil {
		return err
	}
	resp, err := n.world.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(resp.Body)
		return &answerError{string(bytes.TrimSpace(why))}
	}
	return json.NewDecoder(resp.Body).Decode(answer)
}

// answerError is what a node answers instead of what it was asked for.
type answerError struct{ why string }

func (e *answerError) Error() string { return e.why }

func (w *processes) publish(node int, topic string, what said, ephemeral bool) (outcome, store.Position) {
	n := w.nodes[node]
	query := url.Values{"topic": {topic}}
	if ephemeral {
		query.Set("ephemeral", "1")
	}
	p, begun := n.now(), time.Now()
	stops := p.stopped()
	var r result
	err := n.call(context.Background(), "publish", query, what, &r)
	took := time.Since(begun)
	switch _, answered := errors.AsType[*answerError](err); {
	case answered, r.Wrong != "":
		w.Errorf("publish %v in %s: %v %s", what, topic, err, r.Wrong)
	case err != nil: // the node has ended
		return unknown, store.Position{}
	}
	if late := w.giveUp + 10*time.Second; took > late && p == n.now() && p.stopped() == stops { // on a busy machine
		w.Errorf("to publish %v took %v, want that it is given up after %v", what, took, w.giveUp)
	}
	if r.Outcome != done && isRetained(topic) && !ephemeral && !w.ailed(begun) {
		w.Errorf("publish %v in %s: %s, and nothing has befallen", what, topic, r.Outcome)
	}
	return r.Outcome, r.At
}

func (w *processes) disconnect(node int, name string) {
	// While a node or the engine is away, not all can be asked.
	_ = w.nodes[node].call(context.Background(), "disconnect", url.Values{"who": {name}}, nil, new(any))
}

func (w *processes) history(topic string) (list []retained, err error) {
	err = w.nodes[0].call(context.Background(), "history", url.Values{"topic": {topic}}, nil, &list)
	return list, err
}

func (w *processes) present(topic string) ([][]string, error) {
	var lists [][]string
	for _, n := range w.nodes {
		for _, what := range []string{"members", "presence"} {
			var list []string
			if err := n.call(context.Background(), what, url.Values{"topic": {topic}}, nil, &list); err != nil {
				return nil, fmt.Errorf("%s of %s: %w", what, topic, err)
			}
			slices.Sort(list)
			lists = append(lists, list)
		}
	}
	return lists, nil
}

func (w *processes) loses() bool { return !w.engine.survives().Includes(broker.SurvivesKill) }

func (w *processes) drain() {
	n := w.nodes[1]
	w.befall("a node shuts down", func() {
		n.now().end()
		n.start()
		n.opened()
	})
}

func (w *processes) close() {
	for _, n := range w.nodes {
		n.now().end()
	}
	w.http.CloseIdleConnections()
	w.engine.close()
	for _, n := range w.nodes {
		for _, one := range n.ways() {
			one.close()
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Logf("what befell: %v", w.counts)
}

// ways are those from this node to the engine and to others.
func (n *nodeProcess) ways() []*way {
	list := slices.Clone(n.toEngine)
	for _, one := range n.toNodes {
		list = append(list, one)
	}
	return list
}
