package channel_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/store"
)

// room is a channel whose methods an example gives as functions. Without them
// anyone may join, and what a client says goes to all.
type room struct {
	joined  func(context.Context, *channel.Socket, channel.Message) (channel.Accepted, error)
	message func(context.Context, *channel.Socket, channel.Message) (any, error)
	leave   func(context.Context, *channel.Socket, channel.Reason)
}

func (r room) HandleJoined(ctx context.Context, s *channel.Socket, m channel.Message) (channel.Accepted, error) {
	if r.joined == nil {
		return channel.Accept(nil), nil
	}
	return r.joined(ctx, s, m)
}

func (r room) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	if r.message == nil {
		return nil, s.Rebroadcast(ctx, m)
	}
	return r.message(ctx, s, m)
}

func (r room) HandleLeave(ctx context.Context, s *channel.Socket, why channel.Reason) {
	if r.leave != nil {
		r.leave(ctx, s, why)
	}
}

// object is what most payloads and replies are.
type object = map[string]any

func ExampleAccept() {
	site := open("room:{id}", room{
		joined: func(_ context.Context, s *channel.Socket, _ channel.Message) (channel.Accepted, error) {
			return channel.Accept(object{"hello": s.Identity().ID}), nil
		},
	})
	defer site.close()
	site.join("ann", "room:1", `{}`).hears(1)
	// Output:
	// ann: phx_reply {"status":"ok","response":{"hello":"ann"}}
}

// The client reads the reason. Of any other error it reads "internal", and the log
// has the rest.
func ExampleRefuse() {
	site := open("room:{id}", room{
		joined: func(_ context.Context, _ *channel.Socket, m channel.Message) (channel.Accepted, error) {
			var p struct{ Password string }
			if err := m.Decode(&p); err != nil {
				return channel.Accepted{}, err
			}
			if p.Password != "swordfish" {
				return channel.Accepted{}, channel.Refuse("wrong password")
			}
			return channel.Accept(nil), nil
		},
		message: func(context.Context, *channel.Socket, channel.Message) (any, error) {
			return nil, channel.Refuse("only listen")
		},
	})
	defer site.close()
	site.join("ann", "room:1", `{"password":"hunter2"}`).hears(1)
	site.join("bob", "room:1", `{"password":7}`).hears(1)
	eve := site.join("eve", "room:1", `{"password":"swordfish"}`)
	eve.push("say", `{"text":"hello"}`)
	eve.hears(2)
	// Output:
	// ann: phx_reply {"status":"error","response":{"reason":"wrong password"}}
	// bob: phx_reply {"status":"error","response":{"reason":"malformed payload: Password: got number"}}
	// eve: phx_reply {"status":"ok","response":{}}
	// eve: phx_reply {"status":"error","response":{"reason":"only listen"}}
}

// What HandleMessage returns is the reply to the message.
func ExampleChannel_reply() {
	site := open("sum", room{
		message: func(_ context.Context, _ *channel.Socket, m channel.Message) (any, error) {
			var p struct{ A, B int }
			if err := m.Decode(&p); err != nil {
				return nil, err
			}
			return object{"sum": p.A + p.B}, nil
		},
	})
	defer site.close()
	ann := site.join("ann", "sum", `{}`)
	ann.push("add", `{"a":2,"b":3}`)
	ann.hears(2)
	// Output:
	// ann: phx_reply {"status":"ok","response":{}}
	// ann: phx_reply {"status":"ok","response":{"sum":5}}
}

// A handler that returns Later does not hold up the next message of its client.
func ExampleSocket_Reply() {
	printed := make(chan struct{})
	site := open("printer", room{
		message: func(_ context.Context, s *channel.Socket, m channel.Message) (any, error) {
			if m.Event == "status" {
				return object{"pages": 0}, nil
			}
			go func() {
				<-printed
				_ = s.Reply(m, object{"pages": 7}, nil)
			}()
			return channel.Later, nil
		},
	})
	defer site.close()
	ann := site.join("ann", "printer", `{}`)
	ann.push("print", `{}`)
	ann.push("status", `{}`)
	ann.hears(2)
	close(printed)
	ann.hears(1)
	// Output:
	// ann: phx_reply {"status":"ok","response":{}}
	// ann: phx_reply {"status":"ok","response":{"pages":0}}
	// ann: phx_reply {"status":"ok","response":{"pages":7}}
}

// A push goes to one client. In HandleJoined it follows the reply.
func ExampleSocket_Push() {
	site := open("room:{id}", room{
		joined: func(_ context.Context, s *channel.Socket, _ channel.Message) (channel.Accepted, error) {
			return channel.Accept(nil), s.Push("topic", object{"is": "gardening"})
		},
	})
	defer site.close()
	site.join("ann", "room:1", `{}`).hears(2)
	// Output:
	// ann: phx_reply {"status":"ok","response":{}}
	// ann: topic {"is":"gardening"}
}

// A rebroadcast sends on what a client sent: to all, the client too.
func ExampleSocket_Rebroadcast() {
	site := open("room:{id}", room{
		message: func(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
			return nil, s.Rebroadcast(ctx, m)
		},
	})
	defer site.close()
	ann, bob := site.join("ann", "room:1", `{}`).in(), site.join("bob", "room:1", `{}`).in()
	ann.push("say", `{"text":"hello"}`)
	ann.hears(2)
	bob.hears(1)
	// Output:
	// ann: say {"text":"hello"}
	// ann: phx_reply {"status":"ok","response":{}}
	// bob: say {"text":"hello"}
}

// In HandleJoined a broadcast reaches the members, to whom the client does not
// belong yet.
func ExampleSocket_Broadcast() {
	site := open("room:{id}", room{
		joined: func(ctx context.Context, s *channel.Socket, _ channel.Message) (channel.Accepted, error) {
			return channel.Accept(nil), s.Broadcast(ctx, "came", object{"who": s.Identity().ID})
		},
	})
	defer site.close()
	ann := site.join("ann", "room:1", `{}`).in()
	site.join("bob", "room:1", `{}`).hears(1)
	ann.hears(1)
	// Output:
	// bob: phx_reply {"status":"ok","response":{}}
	// ann: came {"who":"bob"}
}

func ExampleSocket_BroadcastFrom() {
	site := open("canvas:{id}", room{
		message: func(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
			return nil, s.BroadcastFrom(ctx, "cursor", m.Payload) // its own it has drawn already
		},
	})
	defer site.close()
	ann, bob := site.join("ann", "canvas:1", `{}`).in(), site.join("bob", "canvas:1", `{}`).in()
	ann.push("moved", `{"x":4,"y":2}`)
	ann.hears(1)
	bob.hears(1)
	// Output:
	// ann: phx_reply {"status":"ok","response":{}}
	// bob: cursor {"x":4,"y":2}
}

// An ephemeral event reaches the members, and nobody who joins later.
func ExampleEphemeral() {
	site := open("room:{id}", room{}, channel.History{Keep: 100, Replay: 10})
	defer site.close()
	ann := site.join("ann", "room:1", `{}`).in()
	site.broadcast("typing", object{"who": "bob"}, channel.Ephemeral())
	site.broadcast("say", object{"text": "hello"})
	ann.hears(2)
	site.join("eve", "room:1", `{}`).in().hears(1)
	// Output:
	// ann: typing {"who":"bob"}
	// ann: say {"text":"hello"}
	// eve: say {"text":"hello"}
}

// What is assigned to a socket is there until the client leaves the topic.
func ExampleSocket_Assign() {
	site := open("quiz", room{
		joined: func(_ context.Context, s *channel.Socket, _ channel.Message) (channel.Accepted, error) {
			s.Assign("score", 0)
			return channel.Accept(nil), nil
		},
		message: func(_ context.Context, s *channel.Socket, _ channel.Message) (any, error) {
			score := s.Assigned("score").(int) + 10
			s.Assign("score", score)
			return object{"score": score}, nil
		},
	})
	defer site.close()
	ann := site.join("ann", "quiz", `{}`).in()
	ann.push("answer", `{}`)
	ann.push("answer", `{}`)
	ann.hears(2)
	// Output:
	// ann: phx_reply {"status":"ok","response":{"score":10}}
	// ann: phx_reply {"status":"ok","response":{"score":20}}
}

// The names of a pattern stand for one segment each, and * for the rest.
func ExampleSocket_Param() {
	site := open("doc:{owner}:*", room{
		joined: func(_ context.Context, s *channel.Socket, _ channel.Message) (channel.Accepted, error) {
			return channel.Accept(object{"owner": s.Param("owner"), "path": s.Param("*")}), nil
		},
	})
	defer site.close()
	site.join("ann", "doc:bob:notes:today", `{}`).hears(1)
	// Output:
	// ann: phx_reply {"status":"ok","response":{"owner":"bob","path":"notes:today"}}
}

// A channel that is done with a client takes it out of the topic. The client stays
// connected, reads phx_close and does not join again.
func ExampleSocket_Leave() {
	site := open("order:{id}", room{
		message: func(_ context.Context, s *channel.Socket, _ channel.Message) (any, error) {
			s.Leave(nil) // the reply goes out before
			return object{"state": "delivered"}, nil
		},
	})
	defer site.close()
	ann := site.join("ann", "order:42", `{}`).in()
	ann.push("state", `{}`)
	ann.hears(2)
	// Output:
	// ann: phx_reply {"status":"ok","response":{"state":"delivered"}}
	// ann: phx_close {}
}

// Disconnect ends the client socket, in all its topics.
func ExampleSocket_Disconnect() {
	site := open("room:{id}", room{
		message: func(_ context.Context, s *channel.Socket, _ channel.Message) (any, error) {
			s.Disconnect("no shouting")
			return nil, nil
		},
	})
	defer site.close()
	ann := site.join("ann", "room:1", `{}`).in()
	ann.push("say", `{"text":"HELLO"}`)
	ann.ends()
	// Output:
	// ann: closed, no shouting
}

// HandleLeave is called once for each join that was accepted, and is told why.
func ExampleReason() {
	left := make(chan string)
	site := open("room:{id}", room{
		message: func(context.Context, *channel.Socket, channel.Message) (any, error) { panic("a bug") },
		leave: func(_ context.Context, s *channel.Socket, why channel.Reason) {
			left <- s.Identity().ID + " " + string(why)
		},
	})
	defer site.close()

	site.join("ann", "room:1", `{}`).in().push("phx_leave", `{}`)
	fmt.Println(<-left)
	site.join("bob", "room:1", `{}`).in().push("say", `{}`)
	fmt.Println(<-left)
	site.join("eve", "room:1", `{}`).in().close()
	fmt.Println(<-left)
	site.join("joe", "room:1", `{}`).in()
	go func() { _ = site.live.Disconnect(context.Background(), "joe") }()
	fmt.Println(<-left)
	// Output:
	// ann left
	// bob panicked
	// eve closed
	// joe kicked
}

// A topic with a history replays its newest messages to each who joins.
func ExampleHistory() {
	site := open("room:{id}", room{}, channel.History{Keep: 1000, Age: 24 * time.Hour, Replay: 2})
	defer site.close()
	for _, text := range []string{"one", "two", "three"} {
		site.broadcast("say", object{"text": text})
	}
	ann := site.join("ann", "room:1", `{}`).in()
	site.broadcast("say", object{"text": "four"})
	ann.hears(3)
	// Output:
	// ann: say {"text":"two"}
	// ann: say {"text":"three"}
	// ann: say {"text":"four"}
}

// Bytes are sent as they are where the client's dialect can carry them, and in
// base64 where it cannot.
func ExampleBinary() {
	site := open("canvas:{id}", room{
		message: func(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
			fmt.Println("handled", m.Event, m.Binary)
			return nil, s.Broadcast(ctx, "thumbnail", channel.Binary(m.Binary[:2]))
		},
	})
	defer site.close()
	ann := site.join("ann", "canvas:1", `{}`).in()
	ann.push("sketch", `{"@binary":"AQIDBA=="}`)
	ann.hears(1)
	// Output:
	// handled sketch [1 2 3 4]
	// ann: thumbnail {"@binary":"AQI="}
}

// site is a server with one channel.
type site struct {
	live   *chime.Router
	server *httptest.Server
	pages  []*page
}

func open(pattern string, ch channel.Channel, options ...channel.Option) *site {
	live := chime.NewRouter(
		chime.WithConnect(func(r *http.Request) (chime.Identity, error) { return chime.Identity{ID: chime.Token(r)}, nil }),
		chime.WithStore(store.NewMemory()),
	)
	live.Channel(pattern, ch, options...)
	return &site{live: live, server: httptest.NewServer(live)}
}

func (s *site) close() {
	for _, p := range s.pages {
		_ = p.conn.CloseNow() // Shutdown would wait for their answer to its farewell
	}
	if err := s.live.Shutdown(context.Background()); err != nil {
		log.Fatal(err)
	}
	s.server.Close()
}

// broadcast sends an event to room:1.
func (s *site) broadcast(event string, payload any, options ...channel.SendOption) {
	if err := s.live.Broadcast(context.Background(), "room:1", event, payload, options...); err != nil {
		log.Fatal(err)
	}
}

// page is a client in one topic, which speaks the first version of Phoenix's
// protocol: its frames are objects.
type page struct {
	who, topic string
	conn       *websocket.Conn
	ref        int
}

type frame struct {
	Topic   string          `json:"topic"`
	Event   string          `json:"event"`
	Payload json.RawMessage `json:"payload"`
	Ref     string          `json:"ref"`
}

func (s *site) join(who, topic, payload string) *page {
	conn, _, err := websocket.Dial(context.Background(), s.server.URL+"/websocket?vsn=1.0.0", //nolint:bodyclose // the connection takes it over
		&websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + who}}})
	if err != nil {
		log.Fatal(err)
	}
	p := &page{who: who, topic: topic, conn: conn}
	s.pages = append(s.pages, p)
	p.push("phx_join", payload)
	return p
}

func (p *page) push(event, payload string) {
	p.ref++
	text, err := json.Marshal(frame{p.topic, event, json.RawMessage(payload), fmt.Sprint(p.ref)})
	if err != nil {
		log.Fatal(err)
	}
	if err := p.conn.Write(context.Background(), websocket.MessageText, text); err != nil {
		log.Fatal(err)
	}
}

func (p *page) next() (frame, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var f frame
	_, text, err := p.conn.Read(ctx)
	if err == nil {
		err = json.Unmarshal(text, &f)
	}
	return f, err
}

// hears prints the next n frames.
func (p *page) hears(n int) {
	for range n {
		f, err := p.next()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %s %s\n", p.who, f.Event, f.Payload)
	}
}

// in reads the reply to the join.
func (p *page) in() *page {
	if _, err := p.next(); err != nil {
		log.Fatal(err)
	}
	return p
}

// ends prints how the server closes the connection.
func (p *page) ends() {
	for {
		if _, err := p.next(); err != nil {
			_, reason, _ := strings.Cut(err.Error(), `reason = `)
			fmt.Printf("%s: closed, %s\n", p.who, strings.Trim(reason, `"`))
			return
		}
	}
}

func (p *page) close() { _ = p.conn.Close(websocket.StatusNormalClosure, "") }
