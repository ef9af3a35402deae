package chaos

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/brokertest"
	"github.com/go-chime/chime/broker/local"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/internal/raw"
	"github.com/go-chime/chime/store"
)

// kept is a store that the test closes.
type kept interface {
	store.Store
	Close() error
}

// within is a world in the process of the test, to which nothing happens but drains.
type within struct {
	*testing.T
	kept   kept               // of a single node; nil where an engine has the history
	engine *brokertest.Engine // joins the nodes; nil: there is one
	books  *books
	log    nodeLog
	nodes  []*node
	drains atomic.Uint64 // how many there were
}

// node is a server whose Router can be shut down, and followed by another over the same
// history.
type node struct {
	world *within
	name  string
	http  *httptest.Server

	mu     sync.RWMutex // guards what follows; who publishes has it read-locked
	live   *chime.Router
	broker broker.Broker // nil: there is one node
}

// alone returns a world of one node.
func alone(t *testing.T, k kept, b *books) world { return newWithin(t, k, nil, 1, b) }

// threeWithin returns one of three nodes.
func threeWithin(t *testing.T, b *books) world {
	return newWithin(t, nil, brokertest.NewEngine(local.New(store.NewMemory(store.MaxBytes(1<<40)))), 3, b)
}

func newWithin(t *testing.T, k kept, e *brokertest.Engine, n int, b *books) *within {
	t.Helper()
	w := &within{T: t, kept: k, engine: e, books: b}
	w.log.Handler = slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})
	for i := range n {
		one := &node{world: w, name: fmt.Sprint("node-", i)}
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

func (w *within) addresses() (list []string) {
	for _, n := range w.nodes {
		list = append(list, n.http.Listener.Addr().String())
	}
	return list
}

// open gives the node a Router.
func (n *node) open() {
	w := n.world
	options := []chime.Option{chime.WithConnect(raw.ByToken), chime.WithLogger(w.log.logger())}
	if w.engine == nil {
		options = append(options, chime.WithStore(w.kept))
	} else {
		n.broker = w.engine.Node()
		options = append(options, chime.WithBroker(n.broker), chime.WithNode("", "http://"+n.http.Listener.Addr().String()))
	}
	n.live = chime.NewRouter(options...)
	(&room{node: fmt.Sprint(n.name, "-", w.drains.Load()), books: w.books, log: &w.log}).open(n.live)
}

// beKnown waits until all nodes know each other, as a load balancer does that looks whether
// one is ready. A client of one that nobody knows begins anew if it comes elsewhere.
func (n *node) beKnown() {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if n.world.knowEachOther() {
			return
		}
	}
	n.world.Errorf("the nodes do not know each other after %v", patience)
}

// knowEachOther reports whether each node knows all those that are there, and no more.
func (w *within) knowEachOther() bool {
	var first []string
	for i, n := range w.nodes {
		ids, err := idsOf(n.broker)
		if i == 0 {
			first = ids
		}
		if err != nil || len(ids) != len(w.nodes) || !slices.Equal(ids, first) {
			return false
		}
	}
	return true
}

// idsOf are those of the nodes that a broker knows, in order.
func idsOf(b broker.Broker) ([]string, error) {
	list, err := b.(broker.Cluster).Nodes(context.Background())
	ids := make([]string, len(list))
	for i, one := range list {
		ids[i] = one.ID
	}
	slices.Sort(ids)
	return ids, err
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

func (w *within) publish(node int, topic string, what said, ephemeral bool) (outcome, store.Position) {
	n := w.nodes[node]
	n.mu.RLock()
	defer n.mu.RUnlock()
	result, at, err := publish(n.live, topic, what, ephemeral)
	// Nobody promises that what is not retained comes, nor knows whether it did if the engine
	// ends meanwhile.
	if err != nil || result != done && isRetained(topic) && !ephemeral {
		w.Errorf("broadcast in %s: %s, %v", topic, result, err)
	}
	return result, at
}

// publish broadcasts by a Router.
func publish(live *chime.Router, topic string, what said, ephemeral bool) (outcome, store.Position, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var at store.Position
	options := []channel.SendOption{channel.PositionTo(&at)}
	if ephemeral {
		options = []channel.SendOption{channel.Ephemeral()}
	}
	result, err := outcomeOf(live.Broadcast(ctx, topic, "said", what.payload(), options...))
	return result, at, err
}

func (w *within) disconnect(node int, name string) {
	// While an engine is away, not all nodes can be asked.
	if err := w.nodes[node].present().Disconnect(context.Background(), name); err != nil && w.engine == nil {
		w.Error(err)
	}
}

func (w *within) drain() {
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

func (w *within) ills() []func(*dice)  { return nil }
func (w *within) heal()                {}
func (w *within) ailed(time.Time) bool { return false }
func (w *within) loses() bool          { return false }

// shutdown has the clients of a node go elsewhere.
func (n *node) shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := n.present().Shutdown(ctx); err != nil {
		n.world.Error(err)
	}
}

// close closes the broker of a node. N.mu is held, or nobody else uses it.
func (n *node) close() {
	if n.broker == nil {
		return
	}
	if err := n.broker.Close(); err != nil {
		n.world.Errorf("close: %v", err)
	}
}

func (w *within) history(topic string) ([]retained, error) {
	return history(w.nodes[0].present(), topic)
}

// history reads all that a Router has of a topic.
func history(live *chime.Router, topic string) ([]retained, error) {
	page, err := live.HistoryBefore(context.Background(), topic, store.Position{}, math.MaxInt32)
	if errors.Is(err, channel.ErrNoHistory) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return retainedOf(page)
}

func (w *within) present(topic string) ([][]string, error) {
	var lists [][]string
	for _, n := range w.nodes {
		list, err := members(n.present(), topic)
		if err != nil {
			return nil, err
		}
		lists = append(lists, list)
	}
	return lists, nil
}

// members are the names of those that a Router has in a topic.
func members(live *chime.Router, topic string) ([]string, error) {
	list, err := live.Members(context.Background(), topic)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(list))
	for i, m := range list {
		names[i] = m.Identity.ID
	}
	slices.Sort(names)
	return names, nil
}

func (w *within) close() {
	for _, n := range w.nodes {
		n.shutdown()
	}
	for _, n := range w.nodes {
		n.http.Close()
		n.close()
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	if w.kept != nil {
		if err := w.kept.Close(); err != nil {
			w.Errorf("close: %v", err)
		}
	}
}
