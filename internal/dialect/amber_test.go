package dialect_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/internal/raw"
)

// Clients of Amber at the mount itself. What they have in common with all
// others is in the contract; here is what they send, and what they are not sent.

// amberRoom is a channel as Amber's have them: nothing in it needs a reply.
type amberRoom struct{ left chan raw.Departure }

// sessionKey is the context key of the app's session middleware.
type sessionKey struct{}

func session(ctx context.Context) string {
	user, _ := ctx.Value(sessionKey{}).(string)
	return user
}

func (amberRoom) HandleJoined(ctx context.Context, s *channel.Socket, m channel.Message) (channel.Accepted, error) {
	if s.Param("id") == "private" {
		return channel.Accepted{}, channel.Refuse("members only")
	}
	return channel.Accept(map[string]any{"nobody": "sees this"}), s.Push("welcome", map[string]any{"user": session(ctx), "joined_with": m.Payload})
}

func (amberRoom) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	switch m.Event {
	case "message_new":
		return nil, s.Rebroadcast(ctx, m)
	case "whoami":
		return nil, s.Push("you", map[string]any{"user": session(ctx)})
	case "finish":
		s.Leave(nil)
		return nil, s.Push("bye", nil)
	case "boom":
		panic("password " + raw.Secret)
	case "picture":
		return nil, s.Broadcast(ctx, "picture", channel.Binary("\x89PNG"))
	case "ask":
		return channel.Binary("\x89PNG"), nil
	}
	return map[string]any{"an": "answer"}, channel.Refuse("nobody handles " + m.Event)
}

func (r amberRoom) HandleLeave(ctx context.Context, s *channel.Socket, why channel.Reason) {
	r.left <- raw.Left(s.Topic(), session(ctx), why)
}

// amberSite has amberRoom for the topics chat_room:{id}, and behind a session
// for log:{id}, which remembers.
type amberSite struct {
	*raw.Site
	left chan raw.Departure
}

func newAmberSite(t *testing.T) *amberSite {
	t.Helper()
	site, live := raw.NewRouter(t)
	s := &amberSite{site, make(chan raw.Departure, 100)}
	live.Channel("chat_room:{id}", amberRoom{s.left})
	live.Channel("log:{id}", amberRoom{s.left}, channel.History{Keep: 10, Replay: 2})
	app := chi.NewRouter()
	app.Use(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			user := "nobody"
			if cookie, err := r.Cookie("session"); err == nil {
				user = cookie.Value
			}
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), sessionKey{}, user)))
		})
	})
	app.Mount("/socket", live)
	s.Serve(t, app)
	return s
}

// amber opens a WebSocket as an Amber client does: at the mount.
func (s *amberSite) amber(t *testing.T, user string) *raw.Socket {
	t.Helper()
	return s.Upgrade(t, "/socket", "Cookie: session="+user).Opened()
}

func (s *amberSite) wantLeft(t *testing.T, want ...raw.Departure) {
	t.Helper()
	got := map[raw.Departure]bool{}
	for range want {
		got[raw.Await(t, s.left, "HandleLeave")] = true
	}
	for _, d := range want {
		if !got[d] {
			t.Errorf("HandleLeave: got %v, want %v", got, d)
		}
	}
}

const (
	amberJoin    = `{"event":"join","topic":"chat_room:1"}`
	amberMessage = `{"event":"message","topic":"chat_room:1","subject":"message_new","payload":{"message":"hi"}}`
)

func amberWelcome(user string) string {
	return `{"event":"message","topic":"chat_room:1","subject":"welcome","payload":{"joined_with":{},"user":"` + user + `"}}`
}

func TestAmberJoinsSendsAndLeaves(t *testing.T) {
	s := newAmberSite(t)
	ann, bob := s.amber(t, "ann"), s.amber(t, "bob")
	ann.Text(amberJoin)
	ann.Want(amberWelcome("ann")) // the reply to the join has no words
	bob.Text(`{"event":"join","topic":"chat_room:1","payload":{"name":"Bob"}}`)
	bob.Want(`{"event":"message","topic":"chat_room:1","subject":"welcome","payload":{"joined_with":{"name":"Bob"},"user":"bob"}}`)

	ann.Text(amberMessage)
	ann.Want(amberMessage)
	bob.Want(amberMessage)
	ann.Text(`{"event":"message","topic":"chat_room:1","subject":"whoami","payload":{}}`)
	ann.Want(`{"event":"message","topic":"chat_room:1","subject":"you","payload":{"user":"ann"}}`)

	ann.Text(`{"event":"leave","topic":"chat_room:1"}`)
	s.wantLeft(t, raw.Left("chat_room:1", "ann", channel.Left))
	bob.Text(amberMessage)
	bob.Want(amberMessage)
	ann.Text(`{"event":"leave","topic":"chat_room:1"}`) // once more
	ann.Text(amberMessage)                              // too late
	ann.Text(amberJoin)
	ann.Want(amberWelcome("ann")) // and nothing before it
	ann.Text(amberJoin)           // a second join is a new one
	ann.Want(amberWelcome("ann"))
	s.wantLeft(t, raw.Left("chat_room:1", "ann", channel.Replaced))
	bob.Text(amberMessage)
	ann.Want(amberMessage)
	ann.Text(amberMessage)
	ann.Want(amberMessage) // each once
}

func TestAmberReplay(t *testing.T) {
	s := newAmberSite(t)
	for n := range 4 {
		if err := s.Live.Broadcast(t.Context(), "log:1", "new", map[string]any{"n": n}); err != nil {
			t.Fatal(err)
		}
	}
	line := func(n int) string {
		return fmt.Sprintf(`{"event":"message","topic":"log:1","subject":"new","payload":{"n":%d}}`, n)
	}
	const welcome = `{"event":"message","topic":"log:1","subject":"welcome","payload":{"joined_with":{},"user":"ann"}}`
	ann := s.amber(t, "ann")
	ann.Text(`{"event":"join","topic":"log:1"}`)
	ann.Want(welcome, line(2), line(3))
	ann.Text(`{"event":"join","topic":"log:1","payload":{"@last":3}}`)
	ann.Want(welcome, line(1), line(2), line(3))
	if err := s.Live.Broadcast(t.Context(), "log:1", "new", map[string]any{"n": 4}); err != nil {
		t.Fatal(err)
	}
	ann.Want(line(4))
}

func TestAmberCallbacksSeeWhatMiddlewareKnows(t *testing.T) {
	s := newAmberSite(t)
	for _, user := range []string{"ann", "bob"} {
		ws := s.amber(t, user)
		ws.Text(amberJoin)
		ws.Want(amberWelcome(user))
		ws.Text(`{"event":"message","topic":"chat_room:1","subject":"whoami","payload":null}`)
		ws.Want(`{"event":"message","topic":"chat_room:1","subject":"you","payload":{"user":"` + user + `"}}`)
		ws.Text(`{"event":"leave","topic":"chat_room:1"}`)
		s.wantLeft(t, raw.Left("chat_room:1", user, channel.Left))
	}
}

func TestAmberTopicsAreLeftWhenTheConnectionEnds(t *testing.T) {
	s := newAmberSite(t)
	for why, end := range map[channel.Reason]func(*raw.Socket){
		channel.Vanished: func(ws *raw.Socket) { _ = ws.Conn.Close() },
		channel.Closed:   func(ws *raw.Socket) { ws.Write(raw.Masked(raw.Fin|raw.OpClose, "\x03\xe8")) },
	} {
		ws := s.amber(t, "ann")
		ws.Text(amberJoin)
		ws.Want(amberWelcome("ann"))
		ws.Text(`{"event":"join","topic":"chat_room:2"}`)
		ws.Next()
		end(ws)
		s.wantLeft(t, raw.Left("chat_room:1", "ann", why), raw.Left("chat_room:2", "ann", why))
	}
}

// TestAmberIsPinged: amber.js connects anew after 100 s without the text,
// whatever else comes. Its browser answers the ping of the WebSocket.
func TestAmberIsPinged(t *testing.T) {
	raw.InBubble(t, &http.Server{}, nil, func(t *testing.T, s *raw.Site) {
		ws := s.Upgrade(t, "/socket").Opened()
		began := time.Now()
		ws.Text(`{"event":"join","topic":"hall:1"}`)
		ctx, stop := context.WithCancel(t.Context())
		var traffic sync.WaitGroup
		traffic.Go(func() {
			for ctx.Err() == nil {
				time.Sleep(7 * time.Second)
				if err := s.Live.Broadcast(context.Background(), "hall:1", "tick", nil); err != nil {
					t.Error(err)
				}
			}
		})
		var texts, pings []time.Duration
		for len(pings) < 5 {
			opcode, payload, err := ws.Read()
			switch after := time.Since(began); {
			case err != nil:
				t.Fatalf("after %s: %v", after, err)
			case opcode == raw.OpText && payload == "ping":
				texts = append(texts, after)
			case opcode == raw.OpPing && payload == "":
				pings = append(pings, after)
				ws.Write(raw.Masked(raw.Fin|raw.OpPong, ""))
			case opcode != raw.OpText || payload != `{"event":"message","topic":"hall:1","subject":"tick","payload":{}}`:
				t.Fatalf("after %s: got frame %#x %q", after, opcode, payload)
			}
		}
		want := []time.Duration{15 * time.Second, 30 * time.Second, 45 * time.Second, time.Minute, 75 * time.Second}
		if !slices.Equal(texts, want) || !slices.Equal(pings, want) {
			t.Errorf("got the text after %v and the ping after %v, want both after %v", texts, pings, want)
		}

		// It answers no more, and does not even read for itself.
		raw.Ignore(ws.Conn)
		began = time.Now()
		if got, want := <-s.Hall.Left, raw.Left("hall:1", "", "vanished"); got != want {
			t.Errorf("HandleLeave: got %+v, want %+v", got, want)
		}
		if took := time.Since(began); took != 35*time.Second {
			t.Errorf("gone after %s of silence, want 35s", took)
		}
		stop()
		traffic.Wait()
	})
}

// TestAmberIgnoresWhatItCannotRead, and says so in the log: its clients can't
// be told.
func TestAmberIgnoresWhatItCannotRead(t *testing.T) {
	s := newAmberSite(t)
	bob := s.amber(t, "bob")
	bob.Text(amberJoin)
	bob.Want(amberWelcome("bob"))
	ws := s.amber(t, "ann")
	ws.Text(amberJoin)
	ws.Want(amberWelcome("ann"))
	for name, bad := range map[string]struct {
		frame []byte
		log   string
	}{
		"no JSON":             {raw.Masked(raw.Fin|raw.OpText, "ping"), "frame is not valid JSON"},
		"no UTF-8":            {raw.Masked(raw.Fin|raw.OpText, "{\"event\":\"join\",\"topic\":\"\xff\"}"), "frame is not valid UTF-8"},
		"a frame of Phoenix":  {raw.Masked(raw.Fin|raw.OpText, `["1","1","chat_room:1","phx_join",{}]`), "frame is not an object"},
		"a topic of a number": {raw.Masked(raw.Fin|raw.OpText, `{"event":"join","topic":7}`), "frame has a topic that is no string"},
		"an event of a list":  {raw.Masked(raw.Fin|raw.OpText, `{"event":["join"],"topic":"chat_room:1"}`), "frame has an event that is no string"},
		"a subject of null":   {raw.Masked(raw.Fin|raw.OpText, `{"event":"message","topic":"chat_room:1","subject":null,"payload":{}}`), "frame has a subject that is no string"},
		"no topic":            {raw.Masked(raw.Fin|raw.OpText, `{"event":"leave"}`), "frame has no topic"},
		"an unknown event":    {raw.Masked(raw.Fin|raw.OpText, `{"event":"dance","topic":"chat_room:1"}`), `frame has the event \"dance\": want join, leave or message`},
		"a join in disguise":  {raw.Masked(raw.Fin|raw.OpText, `{"event":"message","topic":"chat_room:1","subject":"phx_leave","payload":{}}`), "frame has the subject phx_leave: want one that is not Phoenix's"},
		"bytes":               {raw.Masked(raw.Fin|raw.OpBinary, "\x00\x01\x01\x0b\x0311chat_room:1say"), "binary frames are not part of this dialect"},
	} {
		t.Run(name, func(t *testing.T) {
			ws.Write(bad.frame)
			ws.Text(amberMessage)
			ws.Want(amberMessage)
			bob.Want(amberMessage)
			if got := s.Logs.String(); !strings.Contains(got, `"level":"DEBUG","msg":"frame ignored","dialect":"amber"`) || !strings.Contains(got, bad.log) {
				t.Errorf("logged %s, want %s", got, bad.log)
			}
		})
	}
}

// TestAmberFramesOutOfSeasonAreLogged: no other dialect keeps silent about them.
func TestAmberFramesOutOfSeasonAreLogged(t *testing.T) {
	s := newAmberSite(t)
	bob := s.amber(t, "bob")
	bob.Text(amberJoin)
	bob.Want(amberWelcome("bob"))
	ws := s.amber(t, "ann")
	for _, c := range []struct{ frame, log string }{
		{amberMessage, `"reason":"unmatched topic","topic":"chat_room:1","event":"message_new"`},
		{`{"event":"join","topic":"nowhere:1"}`, `"reason":"unmatched topic","topic":"nowhere:1","event":"phx_join"`},
		{`{"event":"join","topic":"chime"}`, `"reason":"unmatched topic","topic":"chime","event":"phx_join"`},
		{`{"event":"join","topic":"chat_room:\u0007"}`, `"reason":"unmatched topic","topic":"chat_room:\u0007","event":"phx_join"`},
		{`{"event":"join","topic":"chat_room:private"}`, ``},
		{`{"event":"leave","topic":"chat_room:private"}`, ``},
		{`{"event":"message","topic":"phoenix","subject":"heartbeat","payload":{}}`, ``},
	} {
		ws.Text(c.frame)
		ws.Text(`{"event":"join","topic":"chat_room:1"}`)
		ws.Want(amberWelcome("ann")) // and nothing before it
		ws.Text(`{"event":"leave","topic":"chat_room:1"}`)
		s.wantLeft(t, raw.Left("chat_room:1", "ann", channel.Left))
		bob.Text(amberMessage)
		bob.Want(amberMessage) // and nothing before it
		if got := s.Logs.String(); c.log != "" && !strings.Contains(got, `"level":"DEBUG","msg":"frame refused",`+c.log) {
			t.Errorf("%s: logged %s, want %s", c.frame, got, c.log)
		}
	}
}

// TestAmberConnectsHoweverTheMountIsWritten: amber.js asks for the mount itself.
func TestAmberConnectsHoweverTheMountIsWritten(t *testing.T) {
	s, live := raw.NewRouter(t)
	mux := http.NewServeMux()
	stripped := http.StripPrefix("/stripped", live)
	mux.Handle("/stripped", stripped)
	mux.Handle("/stripped/", stripped)
	app := chi.NewRouter()
	app.Mount("/socket", live)
	mux.Handle("/", app)
	s.Serve(t, mux)
	for _, target := range []string{"/socket", "/socket/", "/socket?room=1", "/stripped", "/stripped/"} {
		ws := s.Upgrade(t, target).Opened()
		ws.Text(`{"event":"join","topic":"hall:1"}`)
		ws.Text(`{"event":"message","topic":"hall:1","subject":"say","payload":{}}`)
		ws.Want(`{"event":"message","topic":"hall:1","subject":"say","payload":{}}`)
		_ = ws.Conn.Close()
		s.Hall.WantLeft(t, "hall:1", "", "vanished")
	}
}

func TestAmberConnectIsRefused(t *testing.T) {
	s := newAmberSite(t)
	s.Upgrade(t, "/socket", "Authorization: Bearer banned").Head.Want(t, http.StatusUnauthorized, `{"reason":"banned"}`)
	s.Upgrade(t, "/socket", "Origin: https://evil.example").Head.Want(t, http.StatusForbidden, `{"reason":"origin not allowed"}`)
}

// TestAmberPanicEndsTheConnection: the client has lost a topic, and there is no
// other way to tell it.
func TestAmberPanicEndsTheConnection(t *testing.T) {
	s := newAmberSite(t)
	bob := s.amber(t, "bob")
	bob.Text(amberJoin)
	bob.Want(amberWelcome("bob"))
	ann := s.amber(t, "ann")
	ann.Text(amberJoin)
	ann.Want(amberWelcome("ann"))
	ann.Text(`{"event":"join","topic":"chat_room:2"}`)
	ann.Next()
	ann.Text(`{"event":"message","topic":"chat_room:1","subject":"boom","payload":{}}`)
	ann.WantClose(1001, "")
	s.wantLeft(t, raw.Left("chat_room:1", "ann", channel.Panicked), raw.Left("chat_room:2", "ann", channel.Vanished))
	bob.Text(amberMessage)
	bob.Want(amberMessage)
}

// TestAmberIsNotToldThatItsChannelHadItLeave: it stays connected, is in its other
// topics, and joins again when its page does.
func TestAmberIsNotToldThatItsChannelHadItLeave(t *testing.T) {
	s := newAmberSite(t)
	ann := s.amber(t, "ann")
	ann.Text(`{"event":"join","topic":"chat_room:2"}`)
	ann.Next()
	ann.Text(amberJoin)
	ann.Want(amberWelcome("ann"))
	ann.Text(`{"event":"message","topic":"chat_room:1","subject":"finish","payload":{}}`)
	ann.Want(`{"event":"message","topic":"chat_room:1","subject":"bye","payload":{}}`)
	s.wantLeft(t, raw.Left("chat_room:1", "ann", channel.Left))
	ann.Text(amberMessage) // too late
	ann.Text(`{"event":"message","topic":"chat_room:2","subject":"message_new","payload":{}}`)
	ann.Want(`{"event":"message","topic":"chat_room:2","subject":"message_new","payload":{}}`)
	ann.Text(amberJoin)
	ann.Want(amberWelcome("ann"))
}

// TestAmberGetsNoBytes, and the log says so once for each client.
func TestAmberGetsNoBytes(t *testing.T) {
	s := newAmberSite(t)
	ann, bob := s.amber(t, "ann"), s.Phoenix(t)
	ann.Text(amberJoin)
	ann.Want(amberWelcome("ann"))
	bob.Text(`["1","1","chat_room:1","phx_join",{}]`)
	_, _ = bob.Next(), bob.Next()
	for range 3 {
		ann.Text(`{"event":"message","topic":"chat_room:1","subject":"picture","payload":{}}`)
		ann.Text(`{"event":"message","topic":"chat_room:1","subject":"ask","payload":{}}`)
		if opcode, _, err := bob.Read(); opcode != raw.OpBinary || err != nil {
			t.Errorf("got frame %#x and %v, want the picture", opcode, err)
		}
		ann.Text(amberMessage)
		ann.Want(amberMessage)
		bob.Want(`[null,null,"chat_room:1","message_new",{"message":"hi"}]`)
	}
	s.Shutdown(t) // what is logged is logged then
	const want = `"level":"WARN","msg":"binary message can't be delivered","dialect":"amber","topic":"chat_room:1","event":"picture"`
	if got := s.Logs.String(); strings.Count(got, "can't be delivered") != 1 || !strings.Contains(got, want) {
		t.Errorf("logged %s, want once %s", got, want)
	}
}

// TestEveryDialectSeesTheSameMessages in one topic, in one order, whoever sends.
func TestEveryDialectSeesTheSameMessages(t *testing.T) {
	s := raw.NewSite(t)
	v2 := s.Phoenix(t).Join("hall:1", "v2")
	v1 := s.Upgrade(t, "/socket/websocket").Opened()
	v1.Text(asV1(`["1","1","hall:1","phx_join",{}]`))
	v1.Want(asV1(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`))
	ours, _ := s.Chime(t)
	ours.Join("hall:1", "ours")
	es, secret := s.Half(t)
	s.Post(t, secret, `{"first":1,"frames":[`+raw.JoinHall+`]}`).WantApplied(t, 1)
	es.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
	bare := s.Bare(t, "join=hall:1")
	bare.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
	amber := s.Upgrade(t, "/socket").Opened()
	amber.Text(`{"event":"join","topic":"hall:1"}`)
	amber.Text(`{"event":"message","topic":"hall:1","subject":"say","payload":{"from":"amber","n":0}}`)

	plain := func(payload string) string { return `[null,null,"hall:1","say",` + payload + `]` }
	asAmber := func(payload string) string {
		return `{"event":"message","topic":"hall:1","subject":"say","payload":` + payload + `}`
	}
	readers := map[string]struct {
		next func() string
		form func(payload string) string
	}{
		"v2":     {v2.Next, plain},
		"v1":     {v1.Next, func(payload string) string { return asV1(plain(payload)) }},
		"chime":  {ours.Next, plain},
		"stream": {func() string { return es.Next().Data }, plain},
		"bare":   {func() string { return bare.Next().Data }, plain},
		"amber":  {amber.Next, asAmber},
	}
	const first = `{"from":"amber","n":0}` // amber is in when it hears this
	for name, r := range readers {
		if got := r.next(); got != r.form(first) {
			t.Fatalf("%s: got %s, want %s", name, got, r.form(first))
		}
	}

	const each = 20
	var senders sync.WaitGroup
	for name, send := range map[string]func(n int, payload string){
		"v2":    func(_ int, payload string) { v2.Text(`["1",null,"hall:1","say",` + payload + `]`) },
		"v1":    func(_ int, payload string) { v1.Text(asV1(`["1",null,"hall:1","say",` + payload + `]`)) },
		"chime": func(_ int, payload string) { ours.Text(`["1",null,"hall:1","say",` + payload + `]`) },
		"amber": func(_ int, payload string) { amber.Text(asAmber(payload)) },
		"stream": func(n int, payload string) {
			s.Post(t, secret, fmt.Sprintf(`{"first":%d,"frames":[["1",null,"hall:1","say",%s]]}`, n+1, payload))
		},
	} {
		senders.Go(func() {
			for n := 1; n <= each; n++ {
				send(n, fmt.Sprintf(`{"from":%q,"n":%d}`, name, n))
			}
		})
	}
	var order []string // as the first reader has it
	for name, r := range readers {
		for i := range 5 * each {
			got := r.next()
			if i == len(order) {
				payload := got[strings.Index(got, `{"from"`):]
				order = append(order, payload[:strings.Index(payload, "}")+1])
			}
			if got != r.form(order[i]) {
				t.Fatalf("%s: got %s, want %s", name, got, r.form(order[i]))
			}
		}
	}
	senders.Wait()
	if slices.Sort(order); len(slices.Compact(order)) != 5*each {
		t.Errorf("got %d messages, want %d, each once", len(slices.Compact(order)), 5*each)
	}
	s.Hall.WantNobodyLeft(t)
}
