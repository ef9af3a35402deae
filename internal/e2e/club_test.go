package e2e

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
)

// club is an application in this process that lets in who has logged in, and
// has them speak under the name of their session, whatever their client says.
type club struct {
	url, addr string

	mu       sync.Mutex
	sessions map[string]member // by the value of the cookie
}

// member is what a session knows.
type member struct{ id, name string }

// memberKey is where the middleware puts the member into the context.
type memberKey struct{}

const (
	loginPage = `<!doctype html><meta charset=utf-8><title>club</title><form method=post action=/login><input id=name name=name><button id=enter>Enter</button></form>`
	clubRoom  = `<!doctype html><meta charset=utf-8><title>club</title><pre id=heard></pre>`
)

// openClub starts a club that ends with the test.
func openClub(t testing.TB) *club {
	t.Helper()
	c := &club{sessions: map[string]member{}}
	live := chime.NewRouter(chime.WithConnect(admit), chime.WithLogger(slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))))
	live.Channel("chat_room:{id}", salon{})
	app := chi.NewRouter()
	app.Use(c.session)
	app.Mount("/socket", live)
	app.Post("/login", c.login)
	app.Get("/", func(w http.ResponseWriter, r *http.Request) {
		page := loginPage
		if _, in := memberOf(r.Context()); in {
			page = clubRoom
		}
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, page)
	})
	app.Get("/amber-client.mjs", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, "amber-client.mjs") })
	server := httptest.NewServer(app)
	c.url, c.addr = server.URL, server.Listener.Addr().String()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := live.Shutdown(ctx); err != nil {
			t.Errorf("the club: %v", err)
		}
		server.Close()
	})
	return c
}

// enterClub has somebody log in, and then speak Amber: a greeting with each
// connection. The page shows what it hears.
func enterClub(t testing.TB, b *browser, base, name string) *page {
	t.Helper()
	p := b.open(t, base)
	p.write(t, "#name", name)
	p.click(t, "#enter")
	p.on(t, "#heard")
	p.run(t, `
		import("/amber-client.mjs").then(({ AmberSocket }) => {
			window.socket = new AmberSocket(location.origin.replace("http", "ws") + "/socket")
			const room = socket.channel("chat_room:club")
			for (const subject of ["message_new", "user_joined", "user_left"]) room.on(subject, ({ name, message, why }) => {
				document.querySelector("#heard").append([subject, name, message ?? why ?? ""].join(" ").trim() + "\n")
			})
			socket.onopen = () => {
				if (socket.opened === 1) room.join()
				room.push("message_new", { name: "Eve", message: "hello " + socket.opened })
			}
			socket.connect()
		})`, nil)
	return p
}

func (c *club) login(w http.ResponseWriter, r *http.Request) {
	name := r.FormValue("name")
	token := rand.Text()
	c.mu.Lock()
	c.sessions[token] = member{id: "member " + name, name: name}
	c.mu.Unlock()
	http.SetCookie(w, &http.Cookie{Name: "session", Value: token, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// session is the app's middleware. A request without a session passes: the login is
// behind it too.
func (c *club) session(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if cookie, err := r.Cookie("session"); err == nil {
			c.mu.Lock()
			m, known := c.sessions[cookie.Value]
			c.mu.Unlock()
			if known {
				r = r.WithContext(context.WithValue(r.Context(), memberKey{}, m))
			}
		}
		next.ServeHTTP(w, r)
	})
}

func memberOf(ctx context.Context) (m member, in bool) {
	m, in = ctx.Value(memberKey{}).(member)
	return m, in
}

func admit(r *http.Request) (chime.Identity, error) {
	m, in := memberOf(r.Context())
	if !in {
		return chime.Identity{}, chime.RefuseConnect(http.StatusUnauthorized, "log in first")
	}
	return chime.Identity{ID: m.id}, nil
}

// salon is the channel of a club. Each callback shows the room what its context
// has of the session, and who WithConnect said it is.
type salon struct{}

func (salon) HandleJoined(ctx context.Context, s *channel.Socket, _ channel.Message) (channel.Accepted, error) {
	return channel.Accept(nil), s.BroadcastFrom(ctx, "user_joined", byline(ctx, s))
}

func (salon) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	var said struct{ Message string }
	if err := m.Decode(&said); err != nil {
		return nil, err
	}
	says := byline(ctx, s)
	says["message"] = said.Message
	return nil, s.Broadcast(ctx, m.Event, says)
}

func (salon) HandleLeave(ctx context.Context, s *channel.Socket, why channel.Reason) {
	leaves := byline(ctx, s)
	leaves["why"] = string(why)
	_ = s.BroadcastFrom(ctx, "user_left", leaves) // the club may be closing
}

func byline(ctx context.Context, s *channel.Socket) map[string]string {
	m, _ := memberOf(ctx)
	return map[string]string{"name": m.name, "id": s.Identity().ID}
}
