package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/store"
)

// site is an application in this process, for what the demo is too harmless
// for: it asks who connects, refuses, answers in every way a channel can, and
// does what a client asks for at /test/.
type site struct {
	url   string // as clients reach it: through a cable
	desk  string // as a test reaches it, to ask for something
	cable *cable
	kept  *store.Memory
	log   *slog.Logger
	with  []chime.Option
	slow  chan struct{} // lets one slow join go on

	worker atomic.Int32 // the version of the service worker at /worker.js

	mu      sync.Mutex
	live    *chime.Router
	arrived []arrival
}

// arrival is a connect, as WithConnect saw it.
type arrival struct {
	Token string     `json:"token"`
	Query url.Values `json:"query"`
}

// blank is a page to run scripts in.
const blank = "<!doctype html><meta charset=utf-8><title>blank</title>"

// openSite starts a site that ends with the test.
func openSite(t testing.TB, with ...chime.Option) *site {
	t.Helper()
	s := &site{with: with, slow: make(chan struct{}), log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})), kept: store.NewMemory()}
	mux := http.NewServeMux()
	mux.Handle("/socket/", http.StripPrefix("/socket", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.router().ServeHTTP(w, r)
	})))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, blank)
	})
	mux.HandleFunc("GET /talk", answerTalk)
	mux.HandleFunc("GET /worker.js", s.answerWorker)
	mux.Handle("GET /script/", http.StripPrefix("/script", http.FileServer(http.Dir("."))))
	mux.Handle("GET /npm/", http.StripPrefix("/npm", http.FileServer(http.Dir("node_modules"))))
	mux.HandleFunc("GET /test/arrived", s.answerArrived)
	mux.HandleFunc("POST /test/cut", func(http.ResponseWriter, *http.Request) { s.cable.cut() })
	mux.HandleFunc("POST /test/kick", s.kick)
	mux.HandleFunc("POST /test/redact", s.redact)
	mux.HandleFunc("POST /test/release", s.release)
	mux.HandleFunc("POST /test/restart", s.restart)
	mux.HandleFunc("POST /test/say", s.say)
	mux.HandleFunc("POST /test/silence", func(http.ResponseWriter, *http.Request) { s.cable.fallSilent() })
	mux.HandleFunc("POST /test/up", func(http.ResponseWriter, *http.Request) { s.cable.up() })
	server := httptest.NewServer(mux)
	s.cable = lay(t, server.Listener.Addr().String())
	s.url, s.desk = "http://"+s.cable.addr, server.URL
	t.Cleanup(func() { // before the cable's: what is under way still comes out of it
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.router().Shutdown(ctx); err != nil {
			t.Errorf("the site: %v", err)
		}
		server.Close()
		if err := s.kept.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// router returns the Router there is, and makes the first.
func (s *site) router() *chime.Router {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live == nil {
		s.live = chime.NewRouter(append([]chime.Option{chime.WithConnect(s.connect), chime.WithStore(s.kept), chime.WithLogger(s.log)}, s.with...)...)
		s.live.Channel("room:{id}", hall{s.slow}, channel.History{Keep: 10_000, Replay: 50})
		s.live.Channel("quiet:{id}", hall{s.slow})
		s.live.Channel("crowd:{id}", hall{s.slow}, channel.Presence(func(s *channel.Socket) (string, any) {
			return s.Identity().ID, map[string]string{"doing": "reading"}
		}))
	}
	return s.live
}

// connect believes any token but one, and, from clients that have no place for a
// token, a name in the URL.
func (s *site) connect(r *http.Request) (chime.Identity, error) {
	a := arrival{chime.Token(r), r.URL.Query()}
	if r.Method == http.MethodGet && !a.Query.Has("token") { // a poll of Phoenix's has one
		s.mu.Lock()
		s.arrived = append(s.arrived, a)
		s.mu.Unlock()
	}
	if a.Token == "stale" {
		return chime.Identity{}, chime.RefuseConnect(http.StatusForbidden, "fetch a new token")
	}
	id := a.Token
	if id == "" {
		id = a.Query.Get("user")
	}
	return chime.Identity{ID: id}, nil
}

// answerArrived tells of the connects that had one parameter, the mark of a
// client.
func (s *site) answerArrived(w http.ResponseWriter, r *http.Request) {
	list := []arrival{}
	s.mu.Lock()
	for _, a := range s.arrived {
		if a.Query.Get("mark") == r.FormValue("mark") {
			list = append(list, a)
		}
	}
	s.mu.Unlock()
	_ = json.NewEncoder(w).Encode(list) // a client that left needs no answer
}

func (s *site) kick(w http.ResponseWriter, r *http.Request) {
	if err := s.router().Disconnect(r.Context(), r.FormValue("user")); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// release returns when a join that was slow goes on.
func (s *site) release(w http.ResponseWriter, r *http.Request) {
	select {
	case s.slow <- struct{}{}:
	case <-r.Context().Done():
		http.Error(w, "nobody is slow", http.StatusConflict)
	}
}

// restart drains the Router and puts another in its place, which has its
// history; or none, with history=lost.
func (s *site) restart(w http.ResponseWriter, r *http.Request) {
	if err := s.router().Shutdown(r.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live = nil
	if r.FormValue("history") == "lost" {
		_ = s.kept.Close() // nobody uses it any more
		s.kept = store.NewMemory()
	}
}

// say broadcasts from outside any socket.
func (s *site) say(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		var payload any = json.RawMessage(body)
		if r.FormValue("binary") != "" {
			payload = channel.Binary(body)
		}
		err = s.router().Broadcast(r.Context(), r.FormValue("topic"), r.FormValue("event"), payload)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// redact takes a message back, from outside any socket.
func (s *site) redact(w http.ResponseWriter, r *http.Request) {
	offset, err := strconv.ParseUint(r.FormValue("offset"), 10, 64)
	if err == nil {
		err = s.router().Redact(r.Context(), r.FormValue("topic"), offset)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// hall is the channel of a site: it does what the client asks for.
type hall struct{ slow <-chan struct{} }

func (h hall) HandleJoined(ctx context.Context, s *channel.Socket, m channel.Message) (channel.Accepted, error) {
	var p struct{ Be string }
	if err := m.Decode(&p); err != nil {
		return channel.Accepted{}, err
	}
	switch p.Be {
	case "refused":
		return channel.Accepted{}, channel.Refuse("not invited")
	case "crashed":
		panic("as the client asked, in a join")
	case "slow":
		select {
		case <-h.slow:
		case <-ctx.Done():
			return channel.Accepted{}, ctx.Err()
		}
	}
	if err := s.BroadcastFrom(ctx, "came", map[string]string{"who": s.Identity().ID}); err != nil {
		return channel.Accepted{}, err
	}
	return channel.Accept(map[string]any{"you": s.Identity().ID, "asked": m.Payload}), nil
}

func (hall) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	switch m.Event {
	case "echo":
		if m.Binary != nil {
			return channel.Binary(m.Binary), nil
		}
		return m.Payload, nil
	case "message_new":
		return nil, s.Rebroadcast(ctx, m)
	case "typing":
		return nil, s.BroadcastFrom(ctx, m.Event, m.Payload)
	case "remind":
		var payload any = m.Payload
		if m.Binary != nil {
			payload = channel.Binary(m.Binary)
		}
		return nil, s.Push("reminder", payload)
	case "later":
		err := s.Push("thinking", struct{}{})
		if err == nil {
			err = s.Reply(m, m.Payload, nil)
		}
		return channel.Later, err
	case "status":
		return nil, s.UpdatePresence(m.Payload)
	case "refuse":
		return nil, channel.Refuse("not today")
	case "fail":
		return nil, fmt.Errorf("a secret of the server")
	case "finish":
		s.Leave(nil)
		return m.Payload, nil
	case "move":
		s.Leave(channel.Refuse("moved"))
		return m.Payload, nil
	case "boom":
		panic("as the client asked, in a message")
	}
	return nil, channel.Refuse("unknown event: " + strings.ToValidUTF8(m.Event, "?"))
}

func (hall) HandleLeave(ctx context.Context, s *channel.Socket, why channel.Reason) {
	_ = s.BroadcastFrom(ctx, "went", map[string]string{"who": s.Identity().ID, "why": string(why)}) // the store may be closed
}
