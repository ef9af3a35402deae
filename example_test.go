package chime_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/store"
)

// chatRoom sends whatever one says to all.
type chatRoom struct {
	channel.AnyoneMayJoin
	channel.NothingOnLeave
}

func (chatRoom) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	return nil, s.Rebroadcast(ctx, m)
}

// A channel in a chi app, behind its middleware. What curl -N would print of a
// topic is printed here.
func Example() {
	live := chime.NewRouter(chime.WithAnonymous(), chime.WithStore(store.NewMemory()))
	live.Channel("chat_room:{id}", chatRoom{}, channel.History{Keep: 1000, Age: 24 * time.Hour, Replay: 50})

	r := chi.NewRouter()
	r.Use(middleware.RequestID, middleware.Recoverer)
	r.Mount("/socket", live)
	site, end := serve(r, live)
	defer end()

	say(live, "hello")
	say(live, "anybody there?")
	listen(site+"/socket/sse?join=chat_room:lobby", "", 2)
	// Output:
	// message_new {"text":"hello"}
	// message_new {"text":"anybody there?"}
}

// Any handler or job can broadcast. When Broadcast returns, the event is kept
// and on its way to all.
func ExampleRouter_Broadcast() {
	live := chime.NewRouter(chime.WithAnonymous(), chime.WithStore(store.NewMemory()))
	live.Channel("order:{id}", chatRoom{}, channel.History{Keep: 10, Replay: 10})

	r := chi.NewRouter()
	r.Mount("/socket", live)
	r.Post("/orders/{id}/ship", func(w http.ResponseWriter, r *http.Request) {
		id := chi.URLParam(r, "id")
		// Here the application commits, and then tells who is watching.
		err := live.Broadcast(r.Context(), "order:"+id, "shipped", map[string]string{"order": id})
		if err != nil {
			http.Error(w, "shipped, but nobody was told", http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	site, end := serve(r, live)
	defer end()

	resp, err := http.Post(site+"/orders/42/ship", "", nil)
	if err != nil {
		log.Fatal(err)
	}
	_ = resp.Body.Close()
	fmt.Println(resp.Status)
	listen(site+"/socket/sse?join=order:42", "", 1)
	// Output:
	// 204 No Content
	// shipped {"order":"42"}
}

// A page is rendered with the newest messages and the position behind them. It
// joins with that position, and gets what was said in between and nothing twice.
func ExampleRouter_History() {
	live := chime.NewRouter(chime.WithAnonymous(), chime.WithStore(store.NewMemory()))
	live.Channel("chat_room:{id}", chatRoom{}, channel.History{Keep: 1000, Replay: 50})
	site, end := serve(live, live)
	defer end()

	say(live, "hello")
	say(live, "anybody there?")

	messages, position, err := live.History(context.Background(), "chat_room:lobby", 50)
	if err != nil {
		log.Fatal(err)
	}
	for _, m := range messages {
		fmt.Printf("<li>%s %s</li>\n", m.Event, m.Payload)
	}

	say(live, "yes, me") // while the page is on its way
	listen(fmt.Sprintf("%s/sse?join=chat_room:lobby&since=%s:%d", site, position.Epoch, position.Offset), "", 1)
	// Output:
	// <li>message_new {"text":"hello"}</li>
	// <li>message_new {"text":"anybody there?"}</li>
	// message_new {"text":"yes, me"}
}

// What must go, goes: whoever has the message is told to remove it, also who comes back
// later, and nobody else gets it.
func ExampleRouter_Redact() {
	live := chime.NewRouter(chime.WithAnonymous(), chime.WithStore(store.NewMemory()))
	live.Channel("chat_room:{id}", chatRoom{}, channel.History{Keep: 1000, Replay: 50})
	site, end := serve(live, live)
	defer end()

	say(live, "hello")
	say(live, "my password is swordfish")

	ctx := context.Background()
	messages, _, err := live.History(ctx, "chat_room:lobby", 1)
	if err != nil {
		log.Fatal(err)
	}
	if err := live.Redact(ctx, "chat_room:lobby", messages[0].Offset); err != nil {
		log.Fatal(err)
	}
	say(live, "oops")
	listen(site+"/sse?join=chat_room:lobby", "", 3)
	// Output:
	// message_new {"text":"hello"}
	// message_redacted {"offset":2}
	// message_new {"text":"oops"}
}

// Forget empties the history of a topic. Members go on, and they and whoever comes back
// are told to remove what they show.
func ExampleRouter_Forget() {
	live := chime.NewRouter(chime.WithAnonymous(), chime.WithStore(store.NewMemory()))
	live.Channel("chat_room:{id}", chatRoom{}, channel.History{Keep: 1000, Replay: 50})
	site, end := serve(live, live)
	defer end()

	say(live, "hello")
	if err := live.Forget(context.Background(), "chat_room:lobby"); err != nil {
		log.Fatal(err)
	}
	say(live, "a new beginning")
	listen(site+"/sse?join=chat_room:lobby", "", 2)
	// Output:
	// history_forgotten {}
	// message_new {"text":"a new beginning"}
}

// Members says who is in a topic of this process.
func ExampleRouter_Members() {
	live := chime.NewRouter(chime.WithConnect(func(r *http.Request) (chime.Identity, error) {
		return chime.Identity{ID: r.URL.Query().Get("name")}, nil // in earnest: from a session, or a token
	}))
	live.Channel("chat_room:{id}", chatRoom{})
	site, end := serve(live, live)
	defer end()

	for _, name := range []string{"ann", "bob"} {
		resp, err := http.Get(site + "/sse?join=chat_room:lobby&name=" + name)
		if err != nil {
			log.Fatal(err)
		}
		defer resp.Body.Close()
		_, _ = bufio.NewReader(resp.Body).ReadString('{') // the reply to the join
	}
	members, err := live.Members(context.Background(), "chat_room:lobby")
	if err != nil {
		log.Fatal(err)
	}
	var names []string
	for _, m := range members {
		names = append(names, m.Identity.ID)
	}
	slices.Sort(names)
	fmt.Println(names)
	// Output:
	// [ann bob]
}

// Disconnect ends all clients of an identity, on whichever transport, as when a
// user signs out.
func ExampleRouter_Disconnect() {
	live := chime.NewRouter(chime.WithConnect(func(*http.Request) (chime.Identity, error) {
		return chime.Identity{ID: "ann"}, nil
	}))
	live.Channel("chat_room:{id}", chatRoom{})
	site, end := serve(live, live)
	defer end()

	resp, err := http.Get(site + "/sse?join=chat_room:lobby")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	stream := bufio.NewReader(resp.Body)
	_, _ = stream.ReadString('{') // the reply to the join
	if err := live.Disconnect(context.Background(), "ann"); err != nil {
		log.Fatal(err)
	}
	_, err = io.Copy(io.Discard, stream) // until the server has ended it
	fmt.Println("ended", err)
	// Output:
	// ended <nil>
}

// library knows who may read which document.
type library struct {
	channel.NothingOnLeave
}

func (library) HandleJoined(_ context.Context, s *channel.Socket, _ channel.Message) (channel.Accepted, error) {
	if s.Param("owner") != s.Identity().ID {
		return channel.Accepted{}, channel.Refuse("not yours")
	}
	err := s.Push("opened", map[string]string{"owner": s.Param("owner"), "path": s.Param("*")})
	return channel.Accept(nil), err
}

func (library) HandleMessage(context.Context, *channel.Socket, channel.Message) (any, error) {
	return nil, channel.Refuse("documents are read-only")
}

// WithConnect says who a client is, from its token here; a session that the
// app's middleware has put into the request's context would do as well. The
// channel finds it at its sockets.
func ExampleWithConnect() {
	users := map[string]string{"t0ken": "ann"}
	live := chime.NewRouter(chime.WithConnect(func(r *http.Request) (chime.Identity, error) {
		name, ok := users[chime.Token(r)]
		if !ok {
			return chime.Identity{}, chime.RefuseConnect(http.StatusUnauthorized, "sign in first")
		}
		return chime.Identity{ID: name, Expires: time.Now().Add(time.Hour)}, nil
	}))
	live.Channel("doc:{owner}:*", library{})
	site, end := serve(live, live)
	defer end()

	listen(site+"/sse?join=doc:ann:notes:today", "t0ken", 1)
	listen(site+"/sse?join=doc:bob:diary", "t0ken", 1)
	listen(site+"/sse?join=doc:ann:notes:today", "another", 1)
	// Output:
	// opened {"owner":"ann","path":"notes:today"}
	// refused {"reason":"not yours"}
	// 401 Unauthorized {"reason":"sign in first"}
}

// Pages of other origins are refused, unless they are named: a browser sends
// the app's cookies along with any page's connections.
func ExampleWithOrigins() {
	live := chime.NewRouter(chime.WithAnonymous(), chime.WithOrigins("https://app.example.com"),
		chime.WithLogger(slog.New(slog.DiscardHandler)))

	for _, origin := range []string{"https://app.example.com", "https://evil.example.net", "null"} {
		r := httptest.NewRequest(http.MethodPost, "https://api.example.com/bye", nil)
		r.Header.Set("Origin", origin)
		w := httptest.NewRecorder()
		live.ServeHTTP(w, r)
		fmt.Println(origin, w.Code)
	}
	// Output:
	// https://app.example.com 204
	// https://evil.example.net 403
	// null 403
}

// A Router works without chi too, below any prefix. Look at it with a browser
// and it says what it is.
func ExampleRouter_ServeHTTP() {
	live := chime.NewRouter(chime.WithAnonymous())
	live.Channel("chat_room:*", chatRoom{})

	mux := http.NewServeMux()
	mux.Handle("/live/", http.StripPrefix("/live", live))

	for _, path := range []string{"/live/", "/live/chime.js", "/live/websocket"} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		fmt.Println(path, w.Code, w.Header().Get("Content-Type"))
	}
	// Output:
	// /live/ 200 text/plain; charset=utf-8
	// /live/chime.js 200 text/javascript; charset=utf-8
	// /live/websocket 400 application/json
}

// Without Attach it comes before that of the http.Server, which does not wait for
// WebSockets and streams. Clients are asked to come back, and channels are left
// with channel.Drained.
func ExampleRouter_Shutdown() {
	live := chime.NewRouter(chime.WithAnonymous())
	live.Channel("chat_room:{id}", chatRoom{})
	server := httptest.NewServer(live)

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	fmt.Println(live.Shutdown(ctx))
	fmt.Println(server.Config.Shutdown(ctx))
	// Output:
	// <nil>
	// <nil>
}

// Once attached, the Shutdown of the http.Server is enough.
func ExampleRouter_Attach() {
	live := chime.NewRouter(chime.WithAnonymous())
	live.Channel("chat_room:{id}", chatRoom{})
	server := httptest.NewUnstartedServer(live)
	live.Attach(server.Config)
	server.Start()

	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	fmt.Println(server.Config.Shutdown(ctx))
	// Output: <nil>
}

// say broadcasts a message to the lobby.
func say(live *chime.Router, text string) {
	err := live.Broadcast(context.Background(), "chat_room:lobby", "message_new", map[string]string{"text": text})
	if err != nil {
		log.Fatal(err)
	}
}

// serve starts a server; end stops it, the Router first.
func serve(h http.Handler, live *chime.Router) (site string, end func()) {
	server := httptest.NewServer(h)
	return server.URL, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := live.Shutdown(ctx); err != nil {
			log.Fatal(err)
		}
		server.Close()
	}
}

// listen reads a stream as curl or an EventSource does, and prints the first n
// events in it, refusals too.
func listen(url, token string, n int) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		log.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(resp.Body)
		fmt.Printf("%s %s", resp.Status, body)
		return
	}
	lines := bufio.NewScanner(resp.Body)
	for n > 0 && lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		var f []json.RawMessage // join_ref, ref, topic, event, payload
		if !ok || json.Unmarshal([]byte(data), &f) != nil {
			continue
		}
		var event string
		var reply struct {
			Status   string
			Response json.RawMessage
		}
		_ = json.Unmarshal(f[3], &event)
		_ = json.Unmarshal(f[4], &reply)
		switch {
		case event != "phx_reply":
			fmt.Printf("%s %s\n", event, f[4])
			n--
		case reply.Status == "error":
			fmt.Printf("refused %s\n", reply.Response)
			n--
		}
	}
}
