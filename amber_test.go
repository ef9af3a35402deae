package chime_test

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
)

// Clients of Amber at the mount itself. What they have in common with all
// others is in the contract; here is what they send, and what they are not sent.

// amberRoom is a channel as Amber's have them: nothing in it needs a reply.
type amberRoom struct{ left chan departure }

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
	return channel.Accept(obj{"nobody": "sees this"}), s.Push("welcome", obj{"user": session(ctx), "joined_with": m.Payload})
}

func (amberRoom) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	switch m.Event {
	case "message_new":
		return nil, s.Rebroadcast(ctx, m)
	case "whoami":
		return nil, s.Push("you", obj{"user": session(ctx)})
	case "finish":
		s.Leave(nil)
		return nil, s.Push("bye", nil)
	case "boom":
		panic("password " + aSecret)
	case "picture":
		return nil, s.Broadcast(ctx, "picture", channel.Binary("\x89PNG"))
	case "ask":
		return channel.Binary("\x89PNG"), nil
	}
	return obj{"an": "answer"}, channel.Refuse("nobody handles " + m.Event)
}

func (r amberRoom) HandleLeave(ctx context.Context, s *channel.Socket, why channel.Reason) {
	r.left <- departure{s.Topic(), session(ctx), why}
}

// amberSite has amberRoom for the topics chat_room:{id}, and behind a session
// for log:{id}, which remembers.
type amberSite struct {
	*rawSite
	left chan departure
}

func newAmberSite(t *testing.T) *amberSite {
	t.Helper()
	raw, live := newRawRouter(t)
	s := &amberSite{raw, make(chan departure, 100)}
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
	s.serve(t, app)
	return s
}

// amber opens a WebSocket as an Amber client does: at the mount.
func (s *amberSite) amber(t *testing.T, user string) *rawSocket {
	t.Helper()
	return s.upgrade(t, "/socket", "Cookie: session="+user).opened()
}

func (s *amberSite) wantLeft(t *testing.T, want ...departure) {
	t.Helper()
	got := map[departure]bool{}
	for range want {
		got[await(t, s.left, "HandleLeave")] = true
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
	ann.text(amberJoin)
	ann.want(amberWelcome("ann")) // the reply to the join has no words
	bob.text(`{"event":"join","topic":"chat_room:1","payload":{"name":"Bob"}}`)
	bob.want(`{"event":"message","topic":"chat_room:1","subject":"welcome","payload":{"joined_with":{"name":"Bob"},"user":"bob"}}`)

	ann.text(amberMessage)
	ann.want(amberMessage)
	bob.want(amberMessage)
	ann.text(`{"event":"message","topic":"chat_room:1","subject":"whoami","payload":{}}`)
	ann.want(`{"event":"message","topic":"chat_room:1","subject":"you","payload":{"user":"ann"}}`)

	ann.text(`{"event":"leave","topic":"chat_room:1"}`)
	s.wantLeft(t, departure{"chat_room:1", "ann", channel.Left})
	bob.text(amberMessage)
	bob.want(amberMessage)
	ann.text(`{"event":"leave","topic":"chat_room:1"}`) // once more
	ann.text(amberMessage)                              // too late
	ann.text(amberJoin)
	ann.want(amberWelcome("ann")) // and nothing before it
	ann.text(amberJoin)           // a second join is a new one
	ann.want(amberWelcome("ann"))
	s.wantLeft(t, departure{"chat_room:1", "ann", channel.Replaced})
	bob.text(amberMessage)
	ann.want(amberMessage)
	ann.text(amberMessage)
	ann.want(amberMessage) // each once
}

func TestAmberReplay(t *testing.T) {
	s := newAmberSite(t)
	for n := range 4 {
		if err := s.live.Broadcast(t.Context(), "log:1", "new", obj{"n": n}); err != nil {
			t.Fatal(err)
		}
	}
	line := func(n int) string {
		return fmt.Sprintf(`{"event":"message","topic":"log:1","subject":"new","payload":{"n":%d}}`, n)
	}
	const welcome = `{"event":"message","topic":"log:1","subject":"welcome","payload":{"joined_with":{},"user":"ann"}}`
	ann := s.amber(t, "ann")
	ann.text(`{"event":"join","topic":"log:1"}`)
	ann.want(welcome, line(2), line(3))
	ann.text(`{"event":"join","topic":"log:1","payload":{"@last":3}}`)
	ann.want(welcome, line(1), line(2), line(3))
	if err := s.live.Broadcast(t.Context(), "log:1", "new", obj{"n": 4}); err != nil {
		t.Fatal(err)
	}
	ann.want(line(4))
}

func TestAmberCallbacksSeeWhatMiddlewareKnows(t *testing.T) {
	s := newAmberSite(t)
	for _, user := range []string{"ann", "bob"} {
		ws := s.amber(t, user)
		ws.text(amberJoin)
		ws.want(amberWelcome(user))
		ws.text(`{"event":"message","topic":"chat_room:1","subject":"whoami","payload":null}`)
		ws.want(`{"event":"message","topic":"chat_room:1","subject":"you","payload":{"user":"` + user + `"}}`)
		ws.text(`{"event":"leave","topic":"chat_room:1"}`)
		s.wantLeft(t, departure{"chat_room:1", user, channel.Left})
	}
}

func TestAmberTopicsAreLeftWhenTheConnectionEnds(t *testing.T) {
	s := newAmberSite(t)
	for why, end := range map[channel.Reason]func(*rawSocket){
		channel.Gone:   func(ws *rawSocket) { _ = ws.conn.Close() },
		channel.Closed: func(ws *rawSocket) { ws.write(maskedFrame(fin|opClose, "\x03\xe8")) },
	} {
		ws := s.amber(t, "ann")
		ws.text(amberJoin)
		ws.want(amberWelcome("ann"))
		ws.text(`{"event":"join","topic":"chat_room:2"}`)
		ws.next()
		end(ws)
		s.wantLeft(t, departure{"chat_room:1", "ann", why}, departure{"chat_room:2", "ann", why})
	}
}

// TestAmberIsPinged: amber.js connects anew after 100 s without the text,
// whatever else comes. Its browser answers the ping of the WebSocket.
func TestAmberIsPinged(t *testing.T) {
	inBubble(t, &http.Server{}, nil, func(t *testing.T, s *rawSite) {
		ws := s.upgrade(t, "/socket").opened()
		began := time.Now()
		ws.text(`{"event":"join","topic":"hall:1"}`)
		ctx, stop := context.WithCancel(t.Context())
		var traffic sync.WaitGroup
		traffic.Go(func() {
			for ctx.Err() == nil {
				time.Sleep(7 * time.Second)
				if err := s.live.Broadcast(context.Background(), "hall:1", "tick", nil); err != nil {
					t.Error(err)
				}
			}
		})
		var texts, pings []time.Duration
		for len(pings) < 5 {
			opcode, payload, err := ws.read()
			switch after := time.Since(began); {
			case err != nil:
				t.Fatalf("after %s: %v", after, err)
			case opcode == opText && payload == "ping":
				texts = append(texts, after)
			case opcode == opPing && payload == "":
				pings = append(pings, after)
				ws.write(maskedFrame(fin|opPong, ""))
			case opcode != opText || payload != `{"event":"message","topic":"hall:1","subject":"tick","payload":{}}`:
				t.Fatalf("after %s: got frame %#x %q", after, opcode, payload)
			}
		}
		want := []time.Duration{30 * time.Second, time.Minute, 90 * time.Second, 2 * time.Minute, 150 * time.Second}
		if !slices.Equal(texts, want) || !slices.Equal(pings, want) {
			t.Errorf("got the text after %v and the ping after %v, want both after %v", texts, pings, want)
		}

		// It answers no more, and does not even read for itself.
		ignore(ws.conn)
		began = time.Now()
		if got, want := <-s.hall.left, (departure{"hall:1", "", "gone"}); got != want {
			t.Errorf("HandleLeave: got %+v, want %+v", got, want)
		}
		if took := time.Since(began); took != 65*time.Second {
			t.Errorf("gone after %s of silence, want 65s", took)
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
	bob.text(amberJoin)
	bob.want(amberWelcome("bob"))
	ws := s.amber(t, "ann")
	ws.text(amberJoin)
	ws.want(amberWelcome("ann"))
	for name, bad := range map[string]struct {
		frame []byte
		log   string
	}{
		"no JSON":             {maskedFrame(fin|opText, "ping"), "frame is not valid JSON"},
		"no UTF-8":            {maskedFrame(fin|opText, "{\"event\":\"join\",\"topic\":\"\xff\"}"), "frame is not valid UTF-8"},
		"a frame of Phoenix":  {maskedFrame(fin|opText, `["1","1","chat_room:1","phx_join",{}]`), "frame is not an object"},
		"a topic of a number": {maskedFrame(fin|opText, `{"event":"join","topic":7}`), "frame has a topic that is no string"},
		"an event of a list":  {maskedFrame(fin|opText, `{"event":["join"],"topic":"chat_room:1"}`), "frame has an event that is no string"},
		"a subject of null":   {maskedFrame(fin|opText, `{"event":"message","topic":"chat_room:1","subject":null,"payload":{}}`), "frame has a subject that is no string"},
		"no topic":            {maskedFrame(fin|opText, `{"event":"leave"}`), "frame has no topic"},
		"an unknown event":    {maskedFrame(fin|opText, `{"event":"dance","topic":"chat_room:1"}`), `frame has the event \"dance\": want join, leave or message`},
		"a join in disguise":  {maskedFrame(fin|opText, `{"event":"message","topic":"chat_room:1","subject":"phx_leave","payload":{}}`), "frame has a subject that is Phoenix's"},
		"bytes":               {maskedFrame(fin|opBinary, "\x00\x01\x01\x0b\x0311chat_room:1say"), "binary frames are not part of this dialect"},
	} {
		t.Run(name, func(t *testing.T) {
			ws.write(bad.frame)
			ws.text(amberMessage)
			ws.want(amberMessage)
			bob.want(amberMessage)
			if got := s.logs.String(); !strings.Contains(got, `"level":"DEBUG","msg":"frame ignored","dialect":"amber"`) || !strings.Contains(got, bad.log) {
				t.Errorf("logged %s, want %s", got, bad.log)
			}
		})
	}
}

// TestAmberFramesOutOfSeasonAreLogged: no other dialect keeps silent about them.
func TestAmberFramesOutOfSeasonAreLogged(t *testing.T) {
	s := newAmberSite(t)
	bob := s.amber(t, "bob")
	bob.text(amberJoin)
	bob.want(amberWelcome("bob"))
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
		ws.text(c.frame)
		ws.text(`{"event":"join","topic":"chat_room:1"}`)
		ws.want(amberWelcome("ann")) // and nothing before it
		ws.text(`{"event":"leave","topic":"chat_room:1"}`)
		s.wantLeft(t, departure{"chat_room:1", "ann", channel.Left})
		bob.text(amberMessage)
		bob.want(amberMessage) // and nothing before it
		if got := s.logs.String(); c.log != "" && !strings.Contains(got, `"level":"DEBUG","msg":"frame refused",`+c.log) {
			t.Errorf("%s: logged %s, want %s", c.frame, got, c.log)
		}
	}
}

// TestAmberConnectsHoweverTheMountIsWritten: amber.js asks for the mount itself.
func TestAmberConnectsHoweverTheMountIsWritten(t *testing.T) {
	s, live := newRawRouter(t)
	mux := http.NewServeMux()
	stripped := http.StripPrefix("/stripped", live)
	mux.Handle("/stripped", stripped)
	mux.Handle("/stripped/", stripped)
	app := chi.NewRouter()
	app.Mount("/socket", live)
	mux.Handle("/", app)
	s.serve(t, mux)
	for _, target := range []string{"/socket", "/socket/", "/socket?room=1", "/stripped", "/stripped/"} {
		ws := s.upgrade(t, target).opened()
		ws.text(`{"event":"join","topic":"hall:1"}`)
		ws.text(`{"event":"message","topic":"hall:1","subject":"say","payload":{}}`)
		ws.want(`{"event":"message","topic":"hall:1","subject":"say","payload":{}}`)
		_ = ws.conn.Close()
		s.hall.wantLeft(t, departure{"hall:1", "", "gone"})
	}
}

func TestAmberConnectIsRefused(t *testing.T) {
	s := newAmberSite(t)
	wantAnswer(t, s.upgrade(t, "/socket", "Authorization: Bearer banned").head, http.StatusUnauthorized, `{"reason":"banned"}`)
	wantAnswer(t, s.upgrade(t, "/socket", "Origin: https://evil.example").head, http.StatusForbidden, `{"reason":"origin not allowed"}`)
}

// TestAmberPanicEndsTheConnection: the client has lost a topic, and there is no
// other way to tell it.
func TestAmberPanicEndsTheConnection(t *testing.T) {
	s := newAmberSite(t)
	bob := s.amber(t, "bob")
	bob.text(amberJoin)
	bob.want(amberWelcome("bob"))
	ann := s.amber(t, "ann")
	ann.text(amberJoin)
	ann.want(amberWelcome("ann"))
	ann.text(`{"event":"join","topic":"chat_room:2"}`)
	ann.next()
	ann.text(`{"event":"message","topic":"chat_room:1","subject":"boom","payload":{}}`)
	ann.wantClose(1001, "")
	s.wantLeft(t, departure{"chat_room:1", "ann", channel.Panicked}, departure{"chat_room:2", "ann", channel.Gone})
	bob.text(amberMessage)
	bob.want(amberMessage)
}

// TestAmberIsNotToldThatItsChannelHadItLeave: it stays connected, is in its other
// topics, and joins again when its page does.
func TestAmberIsNotToldThatItsChannelHadItLeave(t *testing.T) {
	s := newAmberSite(t)
	ann := s.amber(t, "ann")
	ann.text(`{"event":"join","topic":"chat_room:2"}`)
	ann.next()
	ann.text(amberJoin)
	ann.want(amberWelcome("ann"))
	ann.text(`{"event":"message","topic":"chat_room:1","subject":"finish","payload":{}}`)
	ann.want(`{"event":"message","topic":"chat_room:1","subject":"bye","payload":{}}`)
	s.wantLeft(t, departure{"chat_room:1", "ann", channel.Left})
	ann.text(amberMessage) // too late
	ann.text(`{"event":"message","topic":"chat_room:2","subject":"message_new","payload":{}}`)
	ann.want(`{"event":"message","topic":"chat_room:2","subject":"message_new","payload":{}}`)
	ann.text(amberJoin)
	ann.want(amberWelcome("ann"))
}

// TestAmberGetsNoBytes, and the log says so once for each client.
func TestAmberGetsNoBytes(t *testing.T) {
	s := newAmberSite(t)
	ann, bob := s.amber(t, "ann"), s.phoenix(t)
	ann.text(amberJoin)
	ann.want(amberWelcome("ann"))
	bob.text(`["1","1","chat_room:1","phx_join",{}]`)
	_, _ = bob.next(), bob.next()
	for range 3 {
		ann.text(`{"event":"message","topic":"chat_room:1","subject":"picture","payload":{}}`)
		ann.text(`{"event":"message","topic":"chat_room:1","subject":"ask","payload":{}}`)
		if opcode, _, err := bob.read(); opcode != opBinary || err != nil {
			t.Errorf("got frame %#x and %v, want the picture", opcode, err)
		}
		ann.text(amberMessage)
		ann.want(amberMessage)
		bob.want(`[null,null,"chat_room:1","message_new",{"message":"hi"}]`)
	}
	s.shutdown(t) // what is logged is logged then
	const want = `"level":"WARN","msg":"binary message can't be delivered","dialect":"amber","topic":"chat_room:1","event":"picture"`
	if got := s.logs.String(); strings.Count(got, "can't be delivered") != 1 || !strings.Contains(got, want) {
		t.Errorf("logged %s, want once %s", got, want)
	}
}

// TestEveryDialectSeesTheSameMessages in one topic, in one order, whoever sends.
func TestEveryDialectSeesTheSameMessages(t *testing.T) {
	s := newSite(t)
	v2 := s.phoenix(t).join("hall:1", "v2")
	v1 := s.upgrade(t, "/socket/websocket").opened()
	v1.text(asV1(`["1","1","hall:1","phx_join",{}]`))
	v1.want(asV1(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`))
	ours, _ := s.chime(t)
	ours.join("hall:1", "ours")
	es, secret := s.half(t)
	wantApplied(t, s.post(t, secret, `{"first":1,"frames":[`+joinHall+`]}`), 1)
	es.want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
	bare := s.bare(t, "join=hall:1")
	bare.want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
	amber := s.upgrade(t, "/socket").opened()
	amber.text(`{"event":"join","topic":"hall:1"}`)
	amber.text(`{"event":"message","topic":"hall:1","subject":"say","payload":{"from":"amber","n":0}}`)

	plain := func(payload string) string { return `[null,null,"hall:1","say",` + payload + `]` }
	asAmber := func(payload string) string {
		return `{"event":"message","topic":"hall:1","subject":"say","payload":` + payload + `}`
	}
	readers := map[string]struct {
		next func() string
		form func(payload string) string
	}{
		"v2":     {v2.next, plain},
		"v1":     {v1.next, func(payload string) string { return asV1(plain(payload)) }},
		"chime":  {ours.next, plain},
		"stream": {func() string { return es.next().data }, plain},
		"bare":   {func() string { return bare.next().data }, plain},
		"amber":  {amber.next, asAmber},
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
		"v2":    func(_ int, payload string) { v2.text(`["1",null,"hall:1","say",` + payload + `]`) },
		"v1":    func(_ int, payload string) { v1.text(asV1(`["1",null,"hall:1","say",` + payload + `]`)) },
		"chime": func(_ int, payload string) { ours.text(`["1",null,"hall:1","say",` + payload + `]`) },
		"amber": func(_ int, payload string) { amber.text(asAmber(payload)) },
		"stream": func(n int, payload string) {
			s.post(t, secret, fmt.Sprintf(`{"first":%d,"frames":[["1",null,"hall:1","say",%s]]}`, n+1, payload))
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
	s.hall.wantNobodyLeft(t)
}
