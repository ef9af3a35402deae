package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/store"
)

// site is the whole application: the page, the socket, and one plain endpoint. The options
// say what keeps the messages. The caller shuts live down.
func site(door *guests, origins []string, log *slog.Logger, kept ...chime.Option) (handler http.Handler, live *chime.Router, err error) {
	guard := http.NewCrossOriginProtection()
	for _, o := range origins {
		if err := guard.AddTrustedOrigin(strings.ToLower(o)); err != nil {
			return nil, nil, err
		}
	}
	guard.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		log.Info("post refused: another origin", "origin", r.Header.Get("Origin"), "host", r.Host, "remedy", "--origin")
		refuse(w, http.StatusForbidden, "the request comes from a page of another origin")
	}))

	live = chime.NewRouter(append(kept,
		chime.WithConnect(door.identify), // a demo: anybody who reaches it may read and write
		chime.WithOrigins(origins...),
		chime.WithDrainWindow(drainTime),
		chime.WithLogger(log))...)
	addRooms(live, log)

	r := chi.NewRouter()
	r.Mount("/socket", live)
	r.Get("/healthz", healthy(live.Health))
	r.With(guard.Handler).Post("/enter", door.enter)
	r.With(guard.Handler).Post("/rooms/{id}/messages", postMessage(door.identify, live.Broadcast, log))
	r.Group(func(r chi.Router) {
		r.Use(securityHeaders)
		r.Get("/", http.RedirectHandler("/rooms/lobby", http.StatusFound).ServeHTTP)
		r.With(onlyRooms).Get("/rooms/{id}", pageFile("index.html"))
		for _, name := range []string{"page.css", "page.js", "log.js", "people.js", "health.js", "icon.svg"} {
			r.Get("/"+name, pageFile(name))
		}
	})
	return r, live, nil
}

// addRooms adds the rooms to a Router, or to the hub of a test.
func addRooms(live interface {
	channel.Live
	Channel(pattern string, ch channel.Channel, options ...channel.Option)
}, log *slog.Logger) {
	live.Channel("chat_room:{id}", newChatRoom(live, log),
		channel.History{Keep: roomKeep, Age: roomAge, Replay: roomReplay}, channel.Presence(presence))
}

// onlyRooms spares people a page that could never join.
func onlyRooms(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := roomOf(r); !ok {
			http.Error(w, badRoom, http.StatusNotFound)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// healthTime is how long a broker has to say how it is: less than those wait who ask.
const healthTime = 2 * time.Second

// healthy says that the process answers and takes messages. What is wrong stands in the
// log: it may name files.
func healthy(health func(context.Context) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		status, says := http.StatusOK, "ok"
		ctx, cancel := context.WithTimeout(r.Context(), healthTime)
		defer cancel()
		switch err := health(ctx); {
		case errors.Is(err, chime.ErrDraining):
			status, says = http.StatusServiceUnavailable, "shutting down"
		case errors.Is(err, channel.ErrUnnamed):
			status, says = http.StatusServiceUnavailable, "starting: the other nodes do not know this one yet"
		case errors.Is(err, store.ErrFull):
			status, says = http.StatusServiceUnavailable, "history: full"
		case errors.Is(err, broker.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
			status, says = http.StatusServiceUnavailable, "broker: can't be reached"
		case err != nil:
			status, says = http.StatusServiceUnavailable, "history: failed"
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, says+"\n") // a prober that left needs no answer
	}
}
