package chime_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/store"
)

// position is a place in a history, as a join names it.
type position = store.Position

// stage is what a script plays on: a Router in a chi app on a real server, with
// one channel, whose clients all speak one dialect on one transport.
type stage struct {
	*testing.T
	wire   *wire
	dial   func(visit) (line, error)
	losses bool // clients may lose their connections
	seed   uint64
	live   *chime.Router
	room   *room
	store  store.Store // nil: nothing is kept
	server *httptest.Server
	url    string
	http   *http.Client

	mu      sync.Mutex // guards what follows
	expires time.Time  // of ann
	clients []*client
}

// visitKey is the context key of what the app's middleware knows of a request.
type visitKey struct{}

func newStage(t *testing.T, b *behaviour, w *wire, kept store.Store) *stage {
	s := &stage{T: t, wire: w, dial: w.dial, losses: b.grace == 0, seed: seed(t), store: kept, room: newRoom(t)}
	if b.needs&toComeBack != 0 {
		s.dial = w.lasting
	}
	options := []chime.Option{
		chime.WithConnect(s.connect),
		chime.WithLimits(b.limits),
		chime.WithLogger(slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))),
	}
	if b.grace != 0 {
		options = append(options, chime.WithGrace(b.grace))
	}
	var remember []channel.Option
	if kept != nil {
		options = append(options, chime.WithStore(kept))
		history := b.history
		if history == (channel.History{}) {
			history.Keep = 1000
		}
		remember = append(remember, history)
	}
	s.live = chime.NewRouter(options...)
	s.room.says = w.dialect == "amber"
	s.live.Channel("room:{id}", s.room, remember...)

	app := chi.NewRouter()
	app.Use(middleware.RequestID, middleware.RequestLogger(&middleware.DefaultLogFormatter{Logger: log.New(io.Discard, "", 0)}),
		middleware.Recoverer, middleware.Compress(5, "text/event-stream"), middleware.Timeout(time.Minute))
	app.Use(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), visitKey{}, r.Header.Get("X-Visit"))))
		})
	})
	app.Mount("/{tenant}/socket", s.live)
	app.Post("/{tenant}/say/{topic}", s.say)
	s.serve(app, b.timed)
	t.Cleanup(s.end)
	return s
}

// serve serves app over TCP, or over pipes.
func (s *stage) serve(app http.Handler, overPipes bool) {
	if !overPipes {
		s.server = httptest.NewServer(app)
		s.url, s.http = s.server.URL, s.server.Client()
		return
	}
	pipes := newPipes()
	s.server = &httptest.Server{Listener: pipes, Config: &http.Server{Handler: app}}
	s.server.Start()
	s.url = "http://chime.example"
	s.http = &http.Client{Transport: &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) { return pipes.dial() },
	}}
}

// seed is another one in every run, unless CHIME_SEED says which. To repeat what
// a moving client did, its messages must come as they came then.
func seed(t *testing.T) uint64 {
	t.Helper()
	n := rand.Uint64()
	if given := os.Getenv("CHIME_SEED"); given != "" {
		var err error
		if n, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatalf("CHIME_SEED: %v", err)
		}
	}
	t.Logf("CHIME_SEED=%d", n)
	return n
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
	s.http.CloseIdleConnections()
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
	return s.live.Shutdown(ctx)
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
	s.Cleanup(l.cut)
	return c, nil
}

// WantRefused connects, and wants to be refused with an HTTP status.
func (s *stage) WantRefused(token string, status int) *refusedError {
	s.Helper()
	c, err := s.tryDial("acme", token)
	if err == nil && !s.wire.sends {
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
	if s.wire.dialect != "bare" {
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
	resp, err := s.http.Post(s.url+"/"+tenant+"/say/"+topic, "text/plain", nil)
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
	got := await(s.T, s.room.leaves, "HandleLeave")
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

// await receives from a channel.
func await[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("%s did not come", what)
		panic("not reached")
	}
}

// room is the channel of all scripts. A script replaces what it is about; the
// rest lets everybody in, and of their messages "say" goes to all and "echo"
// comes back. It watches that each client of each topic is treated as promised:
// one call at a time, the join first, and for each accepted join one leave.
type room struct {
	t      *testing.T
	joined func(context.Context, *channel.Socket, channel.Message) (channel.Accepted, error)
	on     map[string]func(context.Context, *channel.Socket, channel.Message) (any, error)
	left   func(context.Context, *channel.Socket, channel.Reason)
	leaves chan leave
	says   bool // to who is let in that it is: an Amber client has no other way to know

	mu    sync.Mutex // guards lives and last
	lives map[*channel.Socket]*life
	last  *channel.Socket // the last that was let in
}

// itsIn is what the room says to who is let in.
const itsIn = "you are in"

// leave is one call of HandleLeave.
type leave struct {
	topic string
	why   channel.Reason
}

// life is what the channel has seen of one join.
type life struct {
	in    atomic.Bool  // accepted
	calls atomic.Int32 // running
	left  atomic.Int32
}

func newRoom(t *testing.T) *room {
	r := &room{t: t, lives: map[*channel.Socket]*life{}, leaves: make(chan leave, 1000)}
	r.joined = func(context.Context, *channel.Socket, channel.Message) (channel.Accepted, error) {
		return channel.Accept(nil), nil
	}
	r.on = map[string]func(context.Context, *channel.Socket, channel.Message) (any, error){
		"say": func(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
			return nil, s.Rebroadcast(ctx, m)
		},
		"echo": func(_ context.Context, _ *channel.Socket, m channel.Message) (any, error) {
			return m.Payload, nil
		},
	}
	r.left = func(context.Context, *channel.Socket, channel.Reason) {}
	return r
}

// begin notes that a handler runs, until end.
func (r *room) begin(s *channel.Socket, handler string) (l *life, end func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l = r.lives[s]
	switch {
	case (l == nil) != (handler == "HandleJoined"):
		r.t.Errorf("%s is not in its order", handler)
		fallthrough
	case l == nil:
		l = &life{}
		r.lives[s] = l
	case !l.in.Load() || l.left.Load() > 0:
		r.t.Errorf("%s of a client that is not in the topic", handler)
	}
	if n := l.calls.Add(1); n > 1 {
		r.t.Errorf("%s runs while another handler does", handler)
	}
	return l, func() { l.calls.Add(-1) }
}

func (r *room) HandleJoined(ctx context.Context, s *channel.Socket, m channel.Message) (channel.Accepted, error) {
	l, end := r.begin(s, "HandleJoined")
	defer end()
	accepted, err := r.joined(ctx, s, m)
	if err == nil && !reflect.DeepEqual(accepted, channel.Accepted{}) {
		l.in.Store(true)
		r.mu.Lock()
		r.last = s
		r.mu.Unlock()
		if r.says {
			if err := s.Push(itsIn, nil); err != nil {
				r.t.Errorf("Push: %v", err)
			}
		}
	}
	return accepted, err
}

func (r *room) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	_, end := r.begin(s, "HandleMessage")
	defer end()
	if handle := r.on[m.Event]; handle != nil {
		return handle(ctx, s, m)
	}
	return nil, channel.Refuse("nobody handles " + m.Event)
}

func (r *room) HandleLeave(ctx context.Context, s *channel.Socket, why channel.Reason) {
	l, end := r.begin(s, "HandleLeave")
	defer end()
	r.left(ctx, s, why)
	l.left.Add(1)
	r.leaves <- leave{s.Topic(), why}
}

// socket is that of the client that was let in last.
func (r *room) socket() *channel.Socket {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// forgive notes a leave that will not come to its end.
func (r *room) forgive(s *channel.Socket) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lives[s].left.Add(1)
}

// check is for when everybody has gone.
func (r *room) check() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for s, l := range r.lives {
		want := int32(0)
		if l.in.Load() {
			want = 1
		}
		if got := l.left.Load(); got != want {
			r.t.Errorf("%v: HandleLeave was called %d times, want %d", s, got, want)
		}
	}
}
