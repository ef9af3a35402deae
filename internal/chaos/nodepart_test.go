package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/internal/forward"
	"github.com/go-chime/chime/internal/raw"
	"github.com/go-chime/chime/store"
)

// nodeSetup is what a process that is a node is to know.
type nodeSetup struct {
	Name    string // of this process: the one that follows it has another
	Address string
	Engine  engineSetup
	Ways    map[string]string // where other nodes are dialled, by their addresses
	GiveUp  time.Duration
	Grace   time.Duration
}

// ready is the first line of a node.
type ready struct{ Survives broker.Survival }

// serveNode is the main function of a node.
func serveNode(line []byte) error {
	var setup nodeSetup
	if err := json.Unmarshal(line, &setup); err != nil {
		return err
	}
	log := &nodeLog{Handler: slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})}
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	listener, err := net.Listen("tcp", setup.Address)
	if err != nil {
		return err
	}
	b, err := setup.open(stop, log.logger())
	if err != nil {
		return err
	}
	live := chime.NewRouter(chime.WithConnect(raw.ByToken), chime.WithLogger(log.logger()), chime.WithBroker(b), chime.WithGrace(setup.Grace),
		chime.WithNode(setup.Name, "http://"+setup.Address), chime.WithNodeTransport(setup.transport()))
	out := &printed{to: json.NewEncoder(os.Stdout)}
	(&room{node: setup.Name, books: out, log: log}).open(live, channel.Presence(func(s *channel.Socket) (string, any) { return s.Identity().ID, nil }))
	app := chi.NewRouter()
	app.Mount("/socket", live)
	app.Mount("/control", (&control{live, b}).routes())
	server := &http.Server{Handler: app, ReadHeaderTimeout: patience}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	out.write(ready{b.Caps().Survives})
	<-stop.Done()
	ctx, end := context.WithTimeout(context.Background(), patience)
	defer end()
	return errors.Join(live.Shutdown(ctx), server.Close(), ignoreClosed(<-served), b.Close())
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// open opens the broker, however long the engine is away: an application would be begun again.
func (s nodeSetup) open(ctx context.Context, log *slog.Logger) (broker.Broker, error) {
	for {
		b, err := s.Engine.open(ctx, s.GiveUp, log)
		if err == nil || ctx.Err() != nil {
			return b, err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// transport reaches the other nodes by the ways there are, and is else like the Router's own.
func (s nodeSetup) transport() http.RoundTripper {
	t := forward.Plain()
	dial := t.DialContext
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		return dial(ctx, network, s.Ways[address])
	}
	return t
}

// printed is a register of which another process reads. What was written is there, though
// this one is killed.
type printed struct {
	mu sync.Mutex // guards to
	to *json.Encoder
}

func (p *printed) note(e entry) { p.write(e) }

func (p *printed) write(v any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.to.Encode(v); err != nil {
		fmt.Fprintln(os.Stderr, "panic: nobody reads the books:", err)
	}
}

// control is what the test asks of a node.
type control struct {
	live   *chime.Router
	broker broker.Broker
}

func (c *control) routes() http.Handler {
	r := chi.NewRouter()
	for name, f := range map[string]func(*http.Request) (any, error){
		"/publish": c.publish, "/disconnect": c.disconnect, "/health": c.health, "/nodes": c.nodes, "/history": c.history, "/members": c.members, "/presence": c.presence,
	} {
		r.HandleFunc(name, func(w http.ResponseWriter, r *http.Request) {
			answer, err := f(r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
			_ = json.NewEncoder(w).Encode(answer)
		})
	}
	return r
}

// result is that of a publication.
type result struct {
	Outcome outcome
	At      store.Position
	Wrong   string // an error that tells nothing
}

func (c *control) publish(r *http.Request) (any, error) {
	var what said
	if err := json.NewDecoder(r.Body).Decode(&what); err != nil {
		return nil, err
	}
	result := result{}
	var err error
	if result.Outcome, result.At, err = publish(c.live, r.FormValue("topic"), what, r.FormValue("ephemeral") != ""); err != nil {
		result.Wrong = err.Error()
	}
	return result, nil
}

func (c *control) disconnect(r *http.Request) (any, error) {
	return nil, c.live.Disconnect(r.Context(), r.FormValue("who"))
}

func (c *control) health(r *http.Request) (any, error) { return nil, c.live.Health(r.Context()) }
func (c *control) nodes(*http.Request) (any, error)    { return idsOf(c.broker) }
func (c *control) history(r *http.Request) (any, error) {
	return history(c.live, r.FormValue("topic"))
}
func (c *control) members(r *http.Request) (any, error) {
	return members(c.live, r.FormValue("topic"))
}

// presence is whom the topic has present, once for each of their connections.
func (c *control) presence(r *http.Request) (any, error) {
	list, err := c.live.Presence(r.Context(), r.FormValue("topic"))
	names := []string{}
	for _, one := range list {
		for range one.Metas {
			names = append(names, one.Key)
		}
	}
	return names, err
}
