package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/internal/raw"
	"github.com/go-chime/chime/store"
)

// patience is how long anything may take that has to come, on a busy machine.
const patience = 60 * time.Second

// kept is a store that the test closes.
type kept interface {
	store.Store
	Close() error
}

// world is the nodes of an application, with one channel and its books.
type world struct {
	*testing.T
	kept   kept   // of a single node; nil where an engine has the history
	engine engine // joins the nodes; nil: there is one
	room   room
	log    nodeLog
	nodes  []*node
	drains atomic.Uint64 // how many there were
}

// node is a server whose Router can be shut down, and followed by another over the same
// history.
type node struct {
	world *world
	http  *httptest.Server

	mu     sync.RWMutex // guards what follows; who publishes has it read-locked
	live   *chime.Router
	broker broker.Broker // nil: there is one node
}

func newWorld(t *testing.T, k kept, e engine) *world {
	t.Helper()
	w := &world{T: t, kept: k, engine: e}
	w.log.Handler = slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})
	w.room = room{fault: w.fault, joins: map[*channel.Socket]*visit{}, applied: map[said]int{}}
	n := 1
	if e != nil {
		n = 3
	}
	for range n {
		one := &node{world: w}
		one.http = httptest.NewUnstartedServer(one)
		one.open()
		one.http.Start()
		w.nodes = append(w.nodes, one)
	}
	if e != nil {
		w.nodes[0].beKnown()
	}
	return w
}

// open gives the node a Router.
func (n *node) open() {
	w := n.world
	options := []chime.Option{chime.WithConnect(raw.ByToken), chime.WithLogger(slog.New(&w.log))}
	if w.engine == nil {
		options = append(options, chime.WithStore(w.kept))
	} else {
		n.broker = w.engine.node(w.T)
		options = append(options, chime.WithBroker(n.broker), chime.WithNode("", "http://"+n.http.Listener.Addr().String()))
	}
	n.live = chime.NewRouter(options...)
	n.live.Channel("hall:{id}", &w.room)
	n.live.Channel("book:{id}", &w.room, channel.History{Keep: 1 << 30, Age: channel.Forever})
}

// beKnown waits until all nodes know each other, as a load balancer does that looks whether
// one is ready. A client of one that nobody knows begins anew if it comes elsewhere.
func (n *node) beKnown() {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if n.world.knowEachOther() {
			return
		}
	}
	n.world.fault("the nodes do not know each other after %v", patience)
}

// knowEachOther reports whether each node knows all those that are there, and no more.
func (w *world) knowEachOther() bool {
	var first string
	for _, n := range w.nodes {
		list, err := n.broker.(broker.Cluster).Nodes(context.Background())
		ids := make([]string, len(list))
		for i, one := range list {
			ids[i] = one.ID
		}
		slices.Sort(ids)
		text := fmt.Sprint(ids)
		if first == "" {
			first = text
		}
		if err != nil || len(list) != len(w.nodes) || text != first {
			return false
		}
	}
	return true
}

// ServeHTTP serves with the present Router.
func (n *node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	live := n.present()
	app := chi.NewRouter()
	app.Mount("/socket", live)
	app.ServeHTTP(w, r)
}

func (n *node) present() *chime.Router {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.live
}

// broadcast publishes on the present Router.
func (n *node) broadcast(topic string, s said, options ...channel.SendOption) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := n.live.Broadcast(ctx, topic, "said", s.payload(), options...)
	if err != nil && !(passes(topic, options) && errors.Is(err, broker.ErrUncertain)) {
		n.world.fault("broadcast in %s: %v", topic, err)
	}
}

// passes reports whether a message is not retained. Then nobody promises that it comes, nor
// knows whether it did if the engine ends meanwhile.
func passes(topic string, options []channel.SendOption) bool {
	return len(options) > 0 || !strings.HasPrefix(topic, "book:")
}

// drain shuts the present Router of one node down, and has another one follow.
func (w *world) drain() {
	n := w.nodes[w.drains.Add(1)%uint64(len(w.nodes))]
	n.shutdown()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.close()
	n.open()
	if n.broker != nil {
		n.beKnown()
	}
}

// shutdown has the clients of a node go elsewhere.
func (n *node) shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := n.present().Shutdown(ctx); err != nil {
		n.world.fault("%v", err)
	}
}

// close closes the broker of a node. N.mu is held, or nobody else uses it.
func (n *node) close() {
	if n.broker == nil {
		return
	}
	if err := n.broker.Close(); err != nil {
		n.world.fault("close: %v", err)
	}
}

// history is all that was retained of a topic.
func (w *world) history(topic string) ([]store.Message, error) {
	page, err := w.nodes[0].present().HistoryBefore(context.Background(), topic, store.Position{}, math.MaxInt32)
	if errors.Is(err, channel.ErrNoHistory) {
		return nil, nil
	}
	if err == nil && page.More {
		err = errors.New("the page is not all")
	}
	return page.Messages, err
}

// close ends all of them.
func (w *world) close() {
	for _, n := range w.nodes {
		n.shutdown()
	}
	w.room.wantLeft()
	for _, n := range w.nodes {
		n.http.Close()
		n.close()
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	if w.kept != nil {
		if err := w.kept.Close(); err != nil {
			w.fault("close: %v", err)
		}
	}
}

// fault is something that must not be. The test goes on, since others may show why.
func (w *world) fault(format string, args ...any) { w.Errorf(format, args...) }

// said is what somebody says once: by a publisher, or in a push of a client.
type said struct {
	By   string `json:"by"`
	N    int    `json:"n"`
	Size int    `json:"size"`
}

func (s said) payload() map[string]any {
	return map[string]any{"by": s.By, "n": s.N, "size": s.Size, "pad": strings.Repeat("x", s.Size)}
}

func (s said) String() string { return fmt.Sprintf("%s:%d", s.By, s.N) }

// parseSaid takes what was said out of a payload, of which no byte may be missing.
func parseSaid(payload []byte) (said, error) {
	var p struct {
		said
		Pad string `json:"pad"`
	}
	if err := json.Unmarshal(payload, &p); err != nil {
		return said{}, err
	}
	if p.By == "" || len(p.Pad) != p.Size {
		return said{}, fmt.Errorf("%v has %d bytes, want %d", p.said, len(p.Pad), p.Size)
	}
	return p.said, nil
}

// room is the channel. It keeps the books: who has joined, how often it has left, and
// which pushes were handled.
type room struct {
	fault func(string, ...any)
	slow  func(*channel.Socket) // is told of those that end as slow

	mu      sync.Mutex // guards what follows
	joins   map[*channel.Socket]*visit
	applied map[said]int
}

// visit is an accepted join.
type visit struct {
	left int
	last int // of the pushes handled in it
}

func (r *room) HandleJoined(_ context.Context, s *channel.Socket, _ channel.Message) (channel.Accepted, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.joins[s] = &visit{}
	return channel.Accept(nil), nil
}

func (r *room) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	what, err := parseSaid(m.Payload)
	if err != nil {
		r.fault("a push of %s: %v", s.Identity().ID, err)
	}
	r.mu.Lock()
	r.applied[what]++
	v := r.joins[s]
	if v == nil || v.left > 0 || what.N <= v.last {
		r.fault("%v was handled out of order in %v: %+v", what, s, v)
	} else {
		v.last = what.N
	}
	r.mu.Unlock()
	if m.Event == "hum" {
		return nil, s.Broadcast(ctx, "said", m.Payload, channel.Ephemeral())
	}
	return nil, s.Broadcast(ctx, "said", m.Payload)
}

func (r *room) HandleLeave(_ context.Context, s *channel.Socket, why channel.Reason) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if v := r.joins[s]; v == nil {
		r.fault("%v was left and not joined", s)
	} else if v.left++; v.left > 1 {
		r.fault("%v: HandleLeave was called %d times, want 1", s, v.left)
	}
	if why == channel.Slow {
		r.slow(s)
	}
}

// wantLeft wants that each join was left.
func (r *room) wantLeft() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for s, v := range r.joins {
		if v.left != 1 {
			r.fault("%v, of %s: HandleLeave was called %d times, want 1", s, s.Identity().ID, v.left)
		}
	}
}
