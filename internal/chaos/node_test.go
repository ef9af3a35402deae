package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/go-chime/chime"
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

// node is a server whose Router can be shut down, and followed by another over the
// same store.
type node struct {
	*testing.T
	store kept
	room  room
	log   nodeLog
	http  *httptest.Server

	mu   sync.RWMutex // guards live; who publishes has it read-locked
	live *chime.Router
}

func newNode(t *testing.T, k kept) *node {
	t.Helper()
	n := &node{T: t, store: k}
	n.log.Handler = slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})
	n.room = room{fault: n.fault, joins: map[*channel.Socket]*visit{}, applied: map[said]int{}}
	n.live = n.router()
	n.http = httptest.NewServer(n)
	return n
}

func (n *node) router() *chime.Router {
	live := chime.NewRouter(chime.WithConnect(raw.ByToken), chime.WithStore(n.store), chime.WithLogger(slog.New(&n.log)))
	live.Channel("hall:{id}", &n.room)
	live.Channel("book:{id}", &n.room, channel.History{Keep: 1 << 30, Age: channel.Forever})
	return live
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
	if err := n.live.Broadcast(ctx, topic, "said", s.payload(), options...); err != nil {
		n.fault("broadcast in %s: %v", topic, err)
	}
}

// drain shuts the present Router down, and has another one follow.
func (n *node) drain() {
	n.shutdown(n.present())
	n.mu.Lock()
	defer n.mu.Unlock()
	n.live = n.router()
}

func (n *node) shutdown(live *chime.Router) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := live.Shutdown(ctx); err != nil {
		n.fault("%v", err)
	}
}

// fault is something that must not be. The test goes on, since others may show why.
func (n *node) fault(format string, args ...any) { n.Errorf(format, args...) }

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
