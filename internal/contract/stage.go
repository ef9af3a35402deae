package contract

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/channel"
	needs "github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/internal/raw"
	"github.com/go-chime/chime/internal/task"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/transport/transporttest"
)

// position is a place in a history, as a join names it.
type position = store.Position

// stage is what a script plays on: a Router in a chi app on a real server, with
// one channel, whose clients all speak one dialect on one transport.
type stage struct {
	*testing.T
	transport *Transport
	dial      func(visit) (line, error)
	losses    bool // clients may lose their connections
	seed      uint64
	live      *chime.Router   // of the first node
	lives     []*chime.Router // of all
	nodes     *cluster        // nil: there is one
	room      *room
	store     store.Store // nil: nothing is kept
	server    *httptest.Server
	url       string // as clients reach it, by way of the network
	http      *http.Client
	desk      string // without the network, which the app's own handlers are not for
	deskHTTP  *http.Client

	mu      sync.Mutex // guards what follows
	expires time.Time  // of ann
	clients []*client
}

// visitKey is the context key of what the app's middleware knows of a request.
type visitKey struct{}

// compress is one for all stages, since it is dear to make.
var compress = middleware.Compress(5, "text/event-stream")

func newStage(t *testing.T, b *behaviour, tr *Transport, kept store.Store, nodes []broker.Broker) *stage {
	s := &stage{T: t, transport: tr, dial: tr.dial, losses: b.grace == 0, seed: needs.Seed(t), store: kept, room: newRoom(t)}
	if b.needs&toResume != 0 {
		s.dial = tr.lasting
	}
	s.room.says = tr.Dialect == "amber"
	if len(nodes) < 2 {
		var way broker.Broker
		if len(nodes) == 1 {
			way = nodes[0]
		}
		s.serve(s.node(b, way), b.timed)
	} else {
		s.nodes = newCluster(len(nodes))
		for i, way := range nodes {
			s.nodes.add(s.node(b, way, s.nodes.options(i)...))
		}
		s.serve(s.nodes, b.timed)
	}
	t.Cleanup(s.end)
	return s
}

// node returns the app of a node, or of the only one, which has no broker.
func (s *stage) node(b *behaviour, way broker.Broker, more ...chime.Option) http.Handler {
	options := append(more,
		chime.WithConnect(s.connect),
		chime.WithLimits(b.limits),
		chime.WithLogger(slog.New(slog.NewTextHandler(s.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))),
	)
	if b.grace != 0 {
		options = append(options, chime.WithGrace(b.grace))
	}
	var remember []channel.Option
	if s.store != nil {
		if way != nil {
			options = append(options, chime.WithBroker(way))
		} else {
			options = append(options, chime.WithStore(s.store))
		}
		history := b.history
		if history == (channel.History{}) {
			history.Keep = 1000
		}
		remember = append(remember, history)
	}
	if b.outgoing != nil {
		remember = append(remember, channel.Outgoing(b.outgoing, "new"))
	}
	live := chime.NewRouter(options...)
	live.Channel("room:{id}", s.room, remember...)
	live.Channel("crowd:{id}", s.room, append(slices.Clone(remember), channel.Presence(inTheCrowd))...)
	if s.live == nil {
		s.live = live
	}
	s.lives = append(s.lives, live)

	app := chi.NewRouter()
	app.Use(middleware.RequestID, middleware.RequestLogger(&middleware.DefaultLogFormatter{Logger: log.New(io.Discard, "", 0)}),
		middleware.Recoverer, compress, middleware.Timeout(time.Minute))
	app.Use(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), visitKey{}, r.Header.Get("X-Visit"))))
		})
	})
	app.Mount("/{tenant}/socket", live)
	app.Post("/{tenant}/say/{topic}", s.say)
	return app
}

// serve serves app over TCP, or over pipes, and behind a network if there is one.
func (s *stage) serve(app http.Handler, overPipes bool) {
	reach := (&net.Dialer{}).DialContext
	if !overPipes {
		s.server = httptest.NewServer(app)
		s.desk = s.server.URL
	} else {
		pipes := raw.NewPipes()
		s.server = &httptest.Server{Listener: pipes, Config: &http.Server{Handler: app}}
		s.server.Start()
		s.desk = "http://chime.example"
		reach = func(context.Context, string, string) (net.Conn, error) { return pipes.Dial() }
	}
	s.deskHTTP = &http.Client{Transport: &http.Transport{DialContext: reach}}
	s.url, s.http = s.desk, s.deskHTTP
	if s.transport.network == nil {
		return
	}
	var box *transporttest.Box
	if !overPipes {
		box = s.transport.network.Start(s.desk)
		s.url, reach = box.URL, (&net.Dialer{}).DialContext
	} else {
		outside := raw.NewPipes()
		box = s.transport.network.Serve(outside, s.desk, reach)
		scheme, _, _ := strings.Cut(box.URL, ":")
		s.url, reach = scheme+"://chime.example", func(context.Context, string, string) (net.Conn, error) { return outside.Dial() }
	}
	s.http = &http.Client{Transport: &http.Transport{DialContext: reach, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	s.Cleanup(box.Close) // after the stage's own end
}

// connect is the app's idea of who a client is: whoever it says.
func (s *stage) connect(r *http.Request) (chime.Identity, error) {
	token := chime.Token(r)
	if token == "" {
		return chime.Identity{}, chime.RefuseConnect(http.StatusUnauthorized, "no token")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id := chime.Identity{ID: token, Value: "the value of " + token}
	if token == "ann" {
		id.Expires = s.expires
	}
	return id, nil
}

// expire says when ann expires, if she shows her token from now on.
func (s *stage) expire(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expires = at
}

// say is a handler of the app that broadcasts.
func (s *stage) say(w http.ResponseWriter, r *http.Request) {
	err := s.live.Broadcast(r.Context(), chi.URLParam(r, "topic"), "said", obj{"tenant": chi.URLParam(r, "tenant")})
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// end shuts everything down, in time, and then holds the room to its promises.
func (s *stage) end() {
	if err := s.shutdown(); err != nil {
		s.Errorf("Shutdown: %v", err)
	}
	s.server.Close()
	if s.nodes != nil {
		s.nodes.close()
	}
	s.http.CloseIdleConnections()
	s.deskHTTP.CloseIdleConnections()
	s.room.check()
}

// rest has all clients stay on the connections that they have: who is on its
// way to another can't know why the former one ended.
func (s *stage) rest() {
	s.mu.Lock()
	clients := slices.Clone(s.clients)
	s.mu.Unlock()
	for _, c := range clients {
		c.Rest()
	}
}

func (s *stage) shutdown() error {
	s.rest()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var all task.Group
	failed := make([]error, len(s.lives))
	for i, live := range s.lives {
		all.Go(func() { failed[i] = live.Shutdown(ctx) })
	}
	_ = all.Wait(context.Background())
	return errors.Join(failed...)
}

// Dial connects a client whose identity is token.
func (s *stage) Dial(token string) *client {
	s.Helper()
	return s.DialAt("acme", token)
}

// DialAt is Dial with another value for the parameter in the mount's route.
func (s *stage) DialAt(tenant, token string) *client {
	s.Helper()
	c, err := s.tryDial(tenant, token)
	if err != nil {
		s.Fatalf("connect: %v", err)
	}
	return c
}

func (s *stage) tryDial(tenant, token string) (*client, error) {
	c := &client{T: s.T, stage: s, token: token, box: newMailbox()}
	head := http.Header{"X-Visit": {tenant + " " + token}}
	if token != "" {
		head.Set("Authorization", "Bearer "+token)
	}
	s.mu.Lock()
	n := uint64(len(s.clients))
	s.mu.Unlock()
	l, err := s.dial(visit{
		mount: s.url + "/" + tenant + "/socket", http: s.http, head: head, box: c.box, losses: s.losses, seed: s.seed + n,
	})
	if err != nil {
		return nil, err
	}
	c.line = l
	s.mu.Lock()
	s.clients = append(s.clients, c)
	s.mu.Unlock()
	s.Cleanup(func() {
		switch l := l.(type) {
		case *pollLine:
			l.hangUp(l.secret)
		case *lastingLine:
			l.hangUp()
		}
		l.cut()
	})
	return c, nil
}

// WantRefused connects, and wants to be refused with an HTTP status.
func (s *stage) WantRefused(token string, status int) *refusedError {
	s.Helper()
	c, err := s.tryDial("acme", token)
	if err == nil && !s.transport.sends {
		err = c.line.send(frame{joinRef: "1", ref: "1", topic: "room:1", event: "phx_join"})
	}
	var refused *refusedError
	if !errors.As(err, &refused) || refused.status != status {
		s.Fatalf("connect as %q: got %v, want to be refused with %d", token, err, status)
	}
	return refused
}

// WantBusy connects to a server that is going down, and wants to be told to
// come back. An EventSource would stay away for good after any other status
// than 200, so a bare stream gets that.
func (s *stage) WantBusy() {
	s.Helper()
	if s.transport.Dialect != "bare" {
		if got := s.WantRefused("ann", http.StatusServiceUnavailable).head.Get("Retry-After"); got == "" {
			s.Error("no Retry-After")
		}
		return
	}
	late := s.Dial("ann")
	late.TryJoin("room:1", nil)
	late.WantEnd(0)
	late.WantRetry()
}

// Join is Dial and Join in one.
func (s *stage) Join(token, topic string) *member {
	s.Helper()
	return s.Dial(token).Join(topic, nil)
}

// Members returns the members of a topic.
func (s *stage) Members(topic string) []channel.Member {
	list, err := s.live.Members(s.Context(), topic)
	if err != nil {
		s.Errorf("members of %s: %v", topic, err)
	}
	return list
}

// Broadcast sends to a topic from outside.
func (s *stage) Broadcast(topic, event string, payload any, options ...channel.SendOption) {
	s.Helper()
	if err := s.live.Broadcast(s.Context(), topic, event, payload, options...); err != nil {
		s.Errorf("Broadcast: %v", err)
	}
}

// BroadcastMany sends the messages of some numbers, which are kept.
func (s *stage) BroadcastMany(topic string, from, to int) {
	s.Helper()
	for n := from; n <= to; n++ {
		s.Broadcast(topic, "new", obj{"n": n})
	}
}

// PositionOf is the position of the message with a number.
func (s *stage) PositionOf(topic string, n int) position {
	s.Helper()
	messages, at, err := s.live.History(s.Context(), topic, 1000)
	if err != nil {
		s.Fatalf("History: %v", err)
	}
	for _, m := range messages {
		if string(m.Payload) == fmt.Sprintf(`{"n":%d}`, n) {
			return position{Epoch: at.Epoch, Offset: m.Offset}
		}
	}
	s.Fatalf("message %d is not in the history of %s", n, topic)
	return position{}
}

// Flood broadcasts to a topic until stop, which waits for the last one.
func (s *stage) Flood(topic, event string) (stop func()) {
	ctx, cancel := context.WithCancel(s.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		pace := time.NewTicker(time.Millisecond) // a client that can't keep up would be dropped
		defer pace.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-pace.C:
			}
			if err := s.live.Broadcast(ctx, topic, event, obj{}); err != nil && ctx.Err() == nil {
				s.Errorf("Broadcast: %v", err)
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// Say has the app's own handler broadcast, and wants its status.
func (s *stage) Say(tenant, topic string, status int) {
	s.Helper()
	resp, err := s.deskHTTP.Post(s.desk+"/"+tenant+"/say/"+topic, "text/plain", nil)
	if err != nil {
		s.Fatalf("say: %v", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != status {
		s.Fatalf("say in %s: got %s, want %d", topic, resp.Status, status)
	}
}

// Disconnect ends the clients of an identity.
func (s *stage) Disconnect(token string) {
	s.Helper()
	s.rest()
	if err := s.live.Disconnect(s.Context(), token); err != nil {
		s.Fatalf("Disconnect: %v", err)
	}
}

// On has the room handle an event.
func (s *stage) On(event string, handle func(context.Context, *channel.Socket, channel.Message) (any, error)) {
	s.room.on[event] = handle
}

// WantLeave wants that the channel has been told next that somebody left.
func (s *stage) WantLeave(topic string, why channel.Reason) {
	s.Helper()
	got := raw.Await(s.T, s.room.leaves, "HandleLeave")
	if want := (leave{topic, why}); got != want {
		s.Fatalf("HandleLeave: got %v, want %v", got, want)
	}
}

// WantNobodyLeft wants that the channel has been told of no other leave.
func (s *stage) WantNobodyLeft() {
	s.Helper()
	select {
	case got := <-s.room.leaves:
		s.Fatalf("HandleLeave: got %v, want no call", got)
	default:
	}
}
