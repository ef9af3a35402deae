package dialect_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/internal/raw"
)

// The behaviours that Phoenix proves with its own integration tests for
// WebSockets, in their order, for both of its serializers. Three are not ours:
//
//   - connect_info: a list of what a connect may see of its request. WithConnect
//     has the request.
//   - the session, handed over if a CSRF token proves that the page is not
//     foreign. The origin proves it here, and a session is the middleware's.
//   - logs of connects, joins and messages, with their parameters filtered. No
//     payload is logged here, so there is nothing to filter.

// phoenixRoom is the channel of Phoenix's tests.
type phoenixRoom struct{ left chan raw.Departure }

func (phoenixRoom) HandleJoined(ctx context.Context, s *channel.Socket, m channel.Message) (channel.Accepted, error) {
	switch s.Param("*") {
	case "refused":
		return channel.Accepted{}, channel.Refuse("no")
	case "crash":
		panic("at the disco")
	case "bytes":
		return channel.Accept(channel.Binary("\x05")), nil
	}
	var who struct{ User string }
	if err := m.Decode(&who); err != nil {
		return channel.Accepted{}, err
	}
	s.Assign("user", who.User)
	if err := s.Push("joined", map[string]any{"status": "connected"}); err != nil {
		return channel.Accepted{}, err
	}
	return channel.Accept(nil), s.Broadcast(ctx, "user_entered", map[string]any{"user": who.User})
}

func (phoenixRoom) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	switch m.Event {
	case "new_msg":
		return channel.Later, s.Rebroadcast(ctx, m)
	case "boom":
		panic("boom")
	case "stop":
		s.Leave(nil)
		return channel.Later, nil
	case "stop_with_reply":
		s.Leave(nil)
		return m.Payload, nil
	case "stop_with_reason":
		s.Leave(channel.Refuse("going down"))
		return channel.Later, nil
	case "binary_event":
		if err := s.Push("binary_event", channel.Binary("\x03")); err != nil {
			return nil, err
		}
		return channel.Binary("\x04"), nil
	}
	return m.Payload, nil
}

func (r phoenixRoom) HandleLeave(ctx context.Context, s *channel.Socket, why channel.Reason) {
	user, _ := s.Assigned("user").(string)
	_ = s.Broadcast(ctx, "user_left", map[string]any{"user": user}) // it may be the end of the server
	r.left <- raw.Left(s.Topic(), user, why)
}

// phoenixes are Phoenix's two serializers.
var phoenixes = []struct {
	name, target string
	translate    func(string) string
}{
	{"v2", "/socket/websocket?vsn=2.0.0", func(text string) string { return text }},
	{"v1", "/socket/websocket?vsn=1.0.0", asV1},
	{"no vsn", "/socket/websocket", asV1},
}

// asV1 is a frame of V2 in V1, which has no join_ref.
func asV1(text string) string {
	var e [5]json.RawMessage
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{"topic":%s,"event":%s,"payload":%s,"ref":%s}`, e[2], e[3], e[4], e[1])
}

// phoenixSite is a site with phoenixRoom, on a mount with several segments.
type phoenixSite struct {
	*raw.Site
	left chan raw.Departure
}

// phoenixClient writes frames of V2, which go out in its own version.
type phoenixClient struct {
	*raw.Socket
	translate func(string) string
}

func (c *phoenixClient) say(text string) {
	c.T.Helper()
	c.Text(c.translate(text))
}

func (c *phoenixClient) hear(frames ...string) {
	c.T.Helper()
	for _, text := range frames {
		c.Want(c.translate(text))
	}
}

// pinged expects n pings, one every 15 s, and does not answer.
func (c *phoenixClient) pinged(n int) {
	c.T.Helper()
	for range n {
		began := time.Now()
		opcode, payload, err := c.Read()
		if took := time.Since(began); err != nil || opcode != raw.OpPing || payload != "" || took != 15*time.Second {
			c.T.Fatalf("after %v got frame %#x %q and error %v, want a ping after 15s", took, opcode, payload, err)
		}
	}
}

// enter joins a topic, whose join_ref is "1".
func (c *phoenixClient) enter(topic, user string) *phoenixClient {
	c.T.Helper()
	c.say(`["1","1","` + topic + `","phx_join",{"user":"` + user + `"}]`)
	c.hear(`["1","1","`+topic+`","phx_reply",{"status":"ok","response":{}}]`,
		`["1",null,"`+topic+`","joined",{"status":"connected"}]`)
	return c
}

// inPhoenix runs a script with a client of each serializer.
func inPhoenix(t *testing.T, script func(*testing.T, *phoenixSite, func(*testing.T) *phoenixClient), options ...chime.Option) {
	t.Helper()
	for _, p := range phoenixes {
		t.Run(p.name, func(t *testing.T) {
			site, live := raw.NewRouter(t, options...)
			s := &phoenixSite{site, make(chan raw.Departure, 200)}
			live.Channel("room:*", phoenixRoom{s.left})
			app := chi.NewRouter()
			app.Mount("/socket", live)
			app.Mount("/api/v1/{tenant}/socket", live)
			s.Serve(t, app)
			script(t, s, func(t *testing.T) *phoenixClient {
				t.Helper()
				return &phoenixClient{s.Upgrade(t, p.target).Opened(), p.translate}
			})
		})
	}
}

func (s *phoenixSite) wantLeft(t *testing.T, want raw.Departure) {
	t.Helper()
	if got := raw.Await(t, s.left, "HandleLeave"); got != want {
		t.Errorf("HandleLeave: got %+v, want %+v", got, want)
	}
}

func TestPhoenixJoinOnAMountOfSeveralSegments(t *testing.T) {
	inPhoenix(t, func(t *testing.T, s *phoenixSite, _ func(*testing.T) *phoenixClient) {
		ws := s.Upgrade(t, "/api/v1/acme/socket/websocket?vsn=2.0.0").Opened()
		ws.Text(`["9","10","room:lobby","phx_join",{}]`) // the two refs are not the same
		ws.Want(`["9","10","room:lobby","phx_reply",{"status":"ok","response":{}}]`)
		ws.Want(`["9",null,"room:lobby","joined",{"status":"connected"}]`)
	})
}

func TestPhoenixLifeOfAChannel(t *testing.T) {
	inPhoenix(t, func(t *testing.T, s *phoenixSite, dial func(*testing.T) *phoenixClient) {
		ann := dial(t).enter("room:lobby", "ann")
		bob := dial(t).enter("room:lobby", "bob") // who does not hear of his own coming: he was not in yet
		ann.hear(`[null,null,"room:lobby","user_entered",{"user":"bob"}]`)

		ann.say(`["1","2","room:lobby","new_msg",{"body":"hi!"}]`)
		for _, c := range []*phoenixClient{ann, bob} {
			c.hear(`[null,null,"room:lobby","new_msg",{"body":"hi!"}]`)
		}
		ann.say(`["1","3","room:lobby","phx_leave",{}]`)
		ann.hear(`["1","3","room:lobby","phx_reply",{"status":"ok","response":{}}]`, `["1","1","room:lobby","phx_close",{}]`)
		s.wantLeft(t, raw.Left("room:lobby", "ann", channel.Left))
		bob.hear(`[null,null,"room:lobby","user_left",{"user":"ann"}]`)
		if list := s.Members(t, "room:lobby"); len(list) != 1 {
			t.Errorf("Members: got %v, want bob", list)
		}

		ann.say(`["1","4","room:lobby","new_msg",{"body":"still there?"}]`)
		ann.hear(`[null,"4","room:lobby","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`)
		bob.say(`["1","5","room:lobby","echo",{"n":1}]`) // and has heard nothing before this
		bob.hear(`["1","5","room:lobby","phx_reply",{"status":"ok","response":{"n":1}}]`)
	})
}

func TestPhoenixHundredAndFirstJoinIsRefused(t *testing.T) {
	for most, options := range map[int][]chime.Option{100: nil, 1: {chime.WithLimits(chime.Limits{Topics: 1})}} {
		inPhoenix(t, func(t *testing.T, _ *phoenixSite, dial func(*testing.T) *phoenixClient) {
			c := dial(t)
			for n := range most {
				c.enter(fmt.Sprint("room:", n), "ann")
			}
			c.say(`["7","7","room:more","phx_join",{}]`)
			c.hear(`["7","7","room:more","phx_reply",{"status":"error","response":{"reason":"too many channels joined"}}]`)
		}, options...)
	}
}

func TestPhoenixCrashIsAnError(t *testing.T) {
	inPhoenix(t, func(t *testing.T, s *phoenixSite, dial func(*testing.T) *phoenixClient) {
		c := dial(t).enter("room:lobby", "ann")
		c.say(`["1","2","room:lobby","boom",{}]`)
		c.hear(`["1","1","room:lobby","phx_error",{"reason":"channel_crash"}]`)
		s.wantLeft(t, raw.Left("room:lobby", "ann", channel.Panicked))
		c.say(`[null,"3","phoenix","heartbeat",{}]`) // no reply to the message came, and the connection goes on
		c.hear(`[null,"3","phoenix","phx_reply",{"status":"ok","response":{}}]`)
	})
}

func TestPhoenixClientThatClosesLeaves(t *testing.T) {
	inPhoenix(t, func(t *testing.T, s *phoenixSite, dial func(*testing.T) *phoenixClient) {
		c := dial(t).enter("room:lobby", "ann")
		c.Write(raw.Masked(raw.Fin|raw.OpClose, "\x03\xe8"))
		s.wantLeft(t, raw.Left("room:lobby", "ann", channel.Closed))
	})
}

func TestPhoenixEventWithoutAJoinIsNotDelivered(t *testing.T) {
	inPhoenix(t, func(t *testing.T, _ *phoenixSite, dial func(*testing.T) *phoenixClient) {
		bob := dial(t).enter("room:lobby", "bob")
		ann := dial(t)
		ann.say(`[null,"1","room:lobby","new_msg",{"body":"hi!"}]`)
		ann.hear(`[null,"1","room:lobby","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`)
		bob.say(`["1","2","room:lobby","echo",{}]`)
		bob.hear(`["1","2","room:lobby","phx_reply",{"status":"ok","response":{}}]`)
	})
}

func TestPhoenixConnectIsRefused(t *testing.T) {
	limited := chime.WithConnect(func(r *http.Request) (chime.Identity, error) {
		switch r.URL.Query().Get("user") {
		case "":
			return chime.Identity{}, nil
		case "many":
			return chime.Identity{}, chime.RefuseConnect(http.StatusTooManyRequests, "too many")
		}
		return chime.Identity{}, fmt.Errorf("no such user")
	})
	inPhoenix(t, func(t *testing.T, s *phoenixSite, _ func(*testing.T) *phoenixClient) {
		for _, c := range []struct {
			query  string
			header string
			status int
			reason string // Phoenix gives none
		}{
			{"", "Origin: https://evil.example", http.StatusForbidden, "origin not allowed"},
			{"&user=nobody", "X: y", http.StatusServiceUnavailable, "unavailable"}, // a failure, not a verdict
			{"&user=many", "X: y", http.StatusTooManyRequests, "too many"},
		} {
			s.Upgrade(t, raw.PhoenixTarget+c.query, c.header).Head.Want(t, c.status, `{"reason":"`+c.reason+`"}`)
		}
		s.Upgrade(t, raw.PhoenixTarget, "Origin: http://"+s.Host).Opened()
	}, limited)
}

func TestPhoenixDisconnectEndsTheSocketAndItsChannels(t *testing.T) {
	named := chime.WithConnect(func(*http.Request) (chime.Identity, error) { return chime.Identity{ID: "user:1"}, nil })
	inPhoenix(t, func(t *testing.T, s *phoenixSite, dial func(*testing.T) *phoenixClient) {
		c := dial(t).enter("room:1", "ann").enter("room:2", "ann")
		if err := s.Live.Disconnect(t.Context(), "user:1"); err != nil {
			t.Fatal(err)
		}
		c.WantClose(1001, "disconnected")
		got := map[raw.Departure]bool{raw.Await(t, s.left, "HandleLeave"): true, raw.Await(t, s.left, "HandleLeave"): true}
		for _, topic := range []string{"room:1", "room:2"} {
			if !got[raw.Left(topic, "ann", channel.Kicked)] {
				t.Errorf("HandleLeave: got %v, want one of %s", got, topic)
			}
		}
	}, named)
}

func TestPhoenixSecondJoinIsAnsweredForItself(t *testing.T) {
	inPhoenix(t, func(t *testing.T, s *phoenixSite, dial func(*testing.T) *phoenixClient) {
		c := dial(t).enter("room:lobby", "ann")
		c.say(`["2","2","room:lobby","phx_join",{"user":"ann again"}]`)
		// The old join is over before the new one is decided, and the client hears of that after it.
		c.hear(`["2","2","room:lobby","phx_reply",{"status":"ok","response":{}}]`, `["2",null,"room:lobby","joined",{"status":"connected"}]`,
			`["1","1","room:lobby","phx_close",{}]`)
		s.wantLeft(t, raw.Left("room:lobby", "ann", channel.Replaced))
		c.say(`["2","3","room:lobby","echo",{"n":1}]`)
		c.hear(`["2","3","room:lobby","phx_reply",{"status":"ok","response":{"n":1}}]`)
	})
}

func TestPhoenixVersions(t *testing.T) {
	s := raw.NewSite(t)
	const v2, v1, refused = "v2", "v1", "refused"
	for query, want := range map[string]string{
		"":                     v1,
		"?vsn=1.0.0":           v1,
		"?vsn=1.0.12":          v1,
		"?vsn=2.0.0":           v2,
		"?vsn=2.0.7":           v2,
		"?vsn=1.0.0&vsn=2.0.0": v2, // a page's own is in front of what phoenix.js appends
		"?vsn=2.0.0&vsn=1.0.0": v1,
		"?vsn=":                refused,
		"?vsn=2":               refused,
		"?vsn=2.0":             refused,
		"?vsn=2.0.":            refused,
		"?vsn=2.0.x":           refused,
		"?vsn=2.0.00":          refused,
		"?vsn=2.0.0.0":         refused,
		"?vsn=2.1.0":           refused,
		"?vsn=1.1.0":           refused,
		"?vsn=3.0.0":           refused,
		"?vsn=-1.0.0":          refused,
	} {
		t.Run(query, func(t *testing.T) {
			ws := s.Upgrade(t, "/socket/websocket"+query)
			if want == refused {
				ws.Head.Want(t, http.StatusForbidden, `{"reason":"this vsn is not spoken here: want 2.0.0 or 1.0.0, or the subprotocol chime.v1"}`)
				if got := s.Logs.String(); !strings.Contains(got, `"msg":"websocket refused","reason":"this vsn`) {
					t.Errorf("logged %s, want the refusal", raw.Clip(got))
				}
				return
			}
			const beat, reply = `[null,"1","phoenix","heartbeat",{}]`, `[null,"1","phoenix","phx_reply",{"status":"ok","response":{}}]`
			translate := phoenixes[0].translate
			if want == v1 {
				translate = asV1
			}
			c := phoenixClient{ws.Opened(), translate}
			c.say(beat)
			c.hear(reply)
		})
	}
}

// TestPhoenixQuietClientIsDropped: its heartbeat keeps it, and is answered.
func TestPhoenixQuietClientIsDropped(t *testing.T) {
	for _, p := range phoenixes {
		t.Run(p.name, func(t *testing.T) {
			raw.InBubble(t, &http.Server{}, nil, func(t *testing.T, s *raw.Site) {
				c := phoenixClient{s.Upgrade(t, p.target).Opened(), p.translate}
				c.say(`["1","1","hall:1","phx_join",{"as":"ann"}]`)
				c.hear(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
				for range 10 {
					c.pinged(2)
					c.say(`[null,"2","phoenix","heartbeat",{}]`)
					c.hear(`[null,"2","phoenix","phx_reply",{"status":"ok","response":{}}]`)
				}
				s.Hall.WantNobodyLeft(t)
				began := time.Now()
				c.WantEnd() // without a code: 1000 would keep phoenix.js away
				if took := time.Since(began); took != time.Minute {
					t.Errorf("dropped after %s, want a minute", took)
				}
				s.Hall.WantLeft(t, "hall:1", "ann", "vanished")
			})
		})
	}
}

// TestPhoenixPongIsASignOfLife: a browser answers pings, though it lets the page in
// the background sleep.
func TestPhoenixPongIsASignOfLife(t *testing.T) {
	for _, p := range phoenixes {
		t.Run(p.name, func(t *testing.T) {
			raw.InBubble(t, &http.Server{}, nil, func(t *testing.T, s *raw.Site) {
				c := phoenixClient{s.Upgrade(t, p.target).Opened(), p.translate}
				c.say(`["1","1","hall:1","phx_join",{"as":"ann"}]`)
				c.hear(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
				for range 40 {
					c.pinged(1)
					c.Write(raw.Masked(raw.Fin|raw.OpPong, ""))
				}
				s.Hall.WantNobodyLeft(t)
			})
		})
	}
}

func TestPhoenixTopicWithoutAChannelIsUnmatched(t *testing.T) {
	inPhoenix(t, func(t *testing.T, s *phoenixSite, dial func(*testing.T) *phoenixClient) {
		c := dial(t)
		c.say(`["1","1","nowhere:1","phx_join",{}]`)
		c.hear(`[null,"1","nowhere:1","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`)
		if got := s.Logs.String(); !strings.Contains(got, `"msg":"frame refused","reason":"unmatched topic","topic":"nowhere:1"`) {
			t.Errorf("logged %s, want the topic", raw.Clip(got))
		}
	})
}

// TestPhoenixJoinsThatFail is of Phoenix's tests of channels that are processes
// of an application's own, as is TestPhoenixChannelThatCloses.
func TestPhoenixJoinsThatFail(t *testing.T) {
	inPhoenix(t, func(t *testing.T, _ *phoenixSite, dial func(*testing.T) *phoenixClient) {
		c := dial(t)
		for topic, reason := range map[string]string{"room:refused": "no", "room:crash": "join crashed"} {
			c.say(`["1","1","` + topic + `","phx_join",{}]`)
			c.hear(`["1","1","` + topic + `","phx_reply",{"status":"error","response":{"reason":"` + reason + `"}}]`)
			c.say(`["1","2","` + topic + `","phx_leave",{}]`) // of what it is not in
			c.hear(`["1","2","` + topic + `","phx_reply",{"status":"ok","response":{}}]`)
		}
		c.enter("room:lobby", "ann")
	})
}

// TestPhoenixChannelThatCloses: a handler that stops, with a reply and without.
// Phoenix's client stays away after a phx_close, and joins again after a phx_error.
func TestPhoenixChannelThatCloses(t *testing.T) {
	inPhoenix(t, func(t *testing.T, s *phoenixSite, dial func(*testing.T) *phoenixClient) {
		bob := dial(t).enter("room:lobby", "bob")
		for event, frames := range map[string][]string{
			"stop": {`["1","1","room:lobby","phx_close",{}]`},
			"stop_with_reply": {`["1","2","room:lobby","phx_reply",{"status":"ok","response":{"n":1}}]`,
				`["1","1","room:lobby","phx_close",{}]`},
			"stop_with_reason": {`["1","1","room:lobby","phx_error",{"reason":"going down"}]`},
		} {
			ann := dial(t).enter("room:lobby", "ann")
			bob.hear(`[null,null,"room:lobby","user_entered",{"user":"ann"}]`)
			ann.say(`["1","2","room:lobby","` + event + `",{"n":1}]`)
			ann.hear(frames...)
			s.wantLeft(t, raw.Left("room:lobby", "ann", channel.Left))
			bob.hear(`[null,null,"room:lobby","user_left",{"user":"ann"}]`)
			ann.say(`["1","3","room:lobby","new_msg",{"body":"still there?"}]`)
			ann.hear(`[null,"3","room:lobby","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`)
			ann.enter("room:lobby", "ann") // as often as it likes
			bob.hear(`[null,null,"room:lobby","user_entered",{"user":"ann"}]`)
			ann.say(`["1","4","room:lobby","phx_leave",{}]`)
			ann.hear(`["1","4","room:lobby","phx_reply",{"status":"ok","response":{}}]`, `["1","1","room:lobby","phx_close",{}]`)
			s.wantLeft(t, raw.Left("room:lobby", "ann", channel.Left))
			bob.hear(`[null,null,"room:lobby","user_left",{"user":"ann"}]`)
		}
	})
}

// TestPhoenixBinary: V1 has no binary frames.
func TestPhoenixBinary(t *testing.T) {
	site, live := raw.NewRouter(t)
	live.Channel("room:*", phoenixRoom{make(chan raw.Departure, 10)})
	app := chi.NewRouter()
	app.Mount("/socket", live)
	site.Serve(t, app)
	c := phoenixClient{site.Phoenix(t), phoenixes[0].translate}
	c.enter("room:lobby", "ann")
	c.Write(raw.Masked(raw.Fin|raw.OpBinary, "\x00\x01\x01\x0a\x0c12room:lobbybinary_event\x01\x02"))
	for _, want := range []string{
		"\x00\x01\x0a\x0c1room:lobbybinary_event\x03",
		"\x01\x01\x01\x0a\x0212room:lobbyok\x04",
	} {
		if opcode, got, err := c.Read(); err != nil || opcode != raw.OpBinary || got != want {
			t.Errorf("got frame %#x %q and %v, want bytes %q", opcode, got, err, want)
		}
	}
	c.say(`["9","10","room:bytes","phx_join",{}]`)
	const want = "\x01\x01\x02\x0a\x02910room:bytesok\x05"
	if opcode, got, err := c.Read(); err != nil || opcode != raw.OpBinary || got != want {
		t.Errorf("the reply to a join: got frame %#x %q and %v, want bytes %q", opcode, got, err, want)
	}
}

// TestPhoenixPositionsNeedAJoinRef: some clients refuse a ref where there is none,
// so a join without one that asks gets the messages, and no positions.
func TestPhoenixPositionsNeedAJoinRef(t *testing.T) {
	s := raw.NewSite(t)
	if err := s.Live.Broadcast(t.Context(), "book:1", "say", map[string]any{"n": 1}); err != nil {
		t.Fatal(err)
	}
	for joinRef, refs := range map[string]string{`null`: `null,null`, `""`: `null,null`, `"7"`: `"7","@1"`} {
		ws := s.Phoenix(t)
		ws.Text(`[` + joinRef + `,"8","book:1","phx_join",{"@last":1}]`)
		if got := ws.Next(); !strings.HasPrefix(got, `[`+joinRef+`,"8","book:1","phx_reply",{"status":"ok","response":{"@history":{"epoch":`) {
			t.Errorf("join_ref %s: got %s, want a reply with @history", joinRef, got)
		}
		ws.Want(`[` + refs + `,"book:1","say",{"n":1}]`)
	}
}

// Phoenix tests what is below channels by a socket of its own. Its subprotocols
// and requests that are no upgrades:
