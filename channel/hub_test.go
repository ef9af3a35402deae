package channel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/broker/local"
	"github.com/go-chime/chime/store"
)

func TestHistoryForgetRedact(t *testing.T) {
	h := NewHub(Config{Broker: local.New(store.NewMemory()), Log: slog.New(slog.DiscardHandler)})
	h.Channel("{topic}", &silent{}, History{Keep: 10})
	h.Channel("silent:{id}", &silent{})
	broadcast(t, h, 3)
	wantHistory := func(n int, top uint64, want ...uint64) {
		t.Helper()
		list, pos, err := h.History(t.Context(), "a", n)
		if err != nil {
			t.Fatal(err)
		}
		var got []uint64
		for _, m := range list {
			got = append(got, m.Offset)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) || pos != (store.Position{Epoch: h.history.Epoch(), Offset: top}) {
			t.Errorf("history: got %v and the position %v, want %v and offset %d", got, pos, want, top)
		}
	}
	wantHistory(2, 3, 2, 3)
	if err := h.Redact(t.Context(), "a", 2); err != nil {
		t.Error(err)
	}
	wantHistory(3, 4, 1, 3, 4)
	if err := h.Redact(t.Context(), "a", 2); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("redacted twice: got %v, want %v", err, store.ErrNotFound)
	}
	if err := h.Forget(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	wantHistory(2, 5, 5)
	if err := h.Forget(t.Context(), "nothing"); err != nil {
		t.Errorf("forget a topic that is not known: %v", err)
	}
	wantHistory(2, 5, 5)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for topic, want := range map[string]error{"a": context.Canceled, "silent:1": ErrNoHistory, "no:such:topic": ErrNoChannel} {
		_, _, historyErr := h.History(ctx, topic, 1)
		for what, err := range map[string]error{"History": historyErr, "Forget": h.Forget(ctx, topic), "Redact": h.Redact(ctx, topic, 1)} {
			if !errors.Is(err, want) {
				t.Errorf("%s of %s: got %v, want %v", what, topic, err, want)
			}
		}
	}
	if _, _, err := h.History(t.Context(), "a", 0); err == nil {
		t.Error("a history of 0 messages: got no error")
	}
	for topic, want := range map[string]error{"a": context.Canceled, "no:such:topic": ErrNoChannel} {
		if err := h.Broadcast(ctx, topic, "event", nil); !errors.Is(err, want) {
			t.Errorf("broadcast to %s: got %v, want %v", topic, err, want)
		}
	}
}

func TestWhatCanNotBeBroadcast(t *testing.T) {
	h, _ := stage(t, &scripted{})
	for _, test := range []struct {
		event   string
		payload any
		want    string
	}{
		{"", nil, "want 1 to 255 bytes"},
		{"phx_reply", nil, "neither phx_ nor @"},
		{"@history", nil, "neither phx_ nor @"},
		{"a\nb", nil, "without control characters"},
		{strings.Repeat("x", 256), nil, "want 1 to 255 bytes"},
		{"e", 7, "not a JSON object"},
		{"e", func() {}, "unsupported type"},
	} {
		if err := h.Broadcast(t.Context(), "a", test.event, test.payload); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%.10q %T: got %v, want %q", test.event, test.payload, err, test.want)
		}
	}
}

type bomb struct{}

func (bomb) MarshalJSON() ([]byte, error) { panic("encoding") }

func TestReplies(t *testing.T) {
	answers := map[string]struct {
		reply any
		err   error
		want  string
	}{
		"nothing":     {nil, nil, `{"status":"ok","response":{}}`},
		"anything":    {[]int{1, 2}, nil, `{"status":"ok","response":[1,2]}`},
		"refused":     {nil, Refuse("no"), `{"status":"error","response":{"reason":"no"}}`},
		"wrapped":     {nil, fmt.Errorf("secret: %w", Refuse("no")), `{"status":"error","response":{"reason":"no"}}`},
		"secret":      {nil, errors.New("secret"), `{"status":"error","response":{"reason":"internal"}}`},
		"typed nil":   {nil, (*Error)(nil), `{"status":"error","response":{"reason":"internal"}}`},
		"unencodable": {func() {}, nil, `{"status":"error","response":{"reason":"internal"}}`},
	}
	synctest.Test(t, func(t *testing.T) {
		_, r := stage(t, &scripted{message: func(_ context.Context, s *Socket, m Message) (any, error) {
			switch m.Event {
			case "later":
				time.AfterFunc(time.Second, func() { _ = s.Reply(m, map[string]int{"n": 1}, nil) })
				return Later, nil
			case "bomb":
				return bomb{}, nil
			}
			return answers[m.Event].reply, answers[m.Event].err
		}})
		r.says(t, `["1","1","a","phx_join",{}]`)
		synctest.Wait()
		r.wants(t, joinOK)
		for event, answer := range answers {
			r.says(t, fmt.Sprintf(`["1","2","a",%q,{}]`, event))
			synctest.Wait()
			r.wants(t, `["1","2","a","phx_reply",`+answer.want+`]`)
			r.says(t, fmt.Sprintf(`["1",null,"a",%q,{}]`, event))
			synctest.Wait()
			r.wants(t) // nobody asked
		}
		r.says(t, `["1","3","a","phx_odd",{}]`)
		synctest.Wait()
		if got := r.takes(); len(got) != 1 || !strings.Contains(got[0], "invalid") && !strings.Contains(got[0], "event") {
			t.Errorf("an event of Phoenix's own: got %q, want it refused", got)
		}
		r.says(t, `["1","4","a","later",{}]`)
		r.says(t, `["1","5","a","nothing",{}]`)
		time.Sleep(time.Minute)
		r.wants(t, replyOK("5"), `["1","4","a","phx_reply",{"status":"ok","response":{"n":1}}]`)
		r.says(t, `["1","6","a","bomb",{}]`)
		synctest.Wait()
		r.wants(t, failed("channel_crash"))
	})
}

func TestJoinsThatAreRefused(t *testing.T) {
	for _, test := range []struct {
		name, payload string
		answer        Accepted
		err           error
		want          string
		leaves        bool
	}{
		{name: "Refuse", err: Refuse("no"), want: "no"},
		{name: "another error", err: errors.New("secret"), want: "internal"},
		{name: "the zero Accepted", want: "not accepted"},
		{name: "accepted with an error", answer: Accept(nil), err: Refuse("no"), want: "no"},
		{name: "a reply that is no object", answer: Accept(7), want: "internal", leaves: true},
		{name: "a reply that panics", answer: Accept(bomb{}), want: "internal", leaves: true},
		{name: "@since without an epoch", payload: `{"@since":{"offset":1}}`, want: `malformed @since: want {"epoch":"…","offset":n}`},
		{name: "@since with a negative offset", payload: `{"@since":{"epoch":"e","offset":-1}}`, want: `malformed @since: want {"epoch":"…","offset":n}`},
		{name: "@last that is no number", payload: `{"@last":"all"}`, want: "malformed @last: want a number from 0"},
		{name: "negative @last", payload: `{"@last":-1}`, want: "malformed @last: want a number from 0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ch := &scripted{join: func(context.Context, *Socket, Message) (Accepted, error) { return test.answer, test.err }}
				h, r := stage(t, ch)
				if test.payload == "" {
					test.payload = "{}"
				}
				r.says(t, `["1","1","a","phx_join",`+test.payload+`]`)
				synctest.Wait()
				r.wants(t, `["1","1","a","phx_reply",{"status":"error","response":`+string(reason(test.want))+`}]`)
				if test.leaves {
					ch.wants(t, "join 1", "leave 1 panicked")
				}
				if len(h.members("a")) > 0 || h.topics.find("a") != nil {
					t.Error("something of it is left")
				}
			})
		})
	}
}

func TestTheChannelDoesNotSeeWhatAJoinAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		payloads := map[string]string{
			`{"@last":3,"name":"ann","@since":{"epoch":"e","offset":1}}`: `{"name":"ann"}`,
			`{"@last":3,"name":"<b>&\u2028"}`:                            `{"name":"<b>&\u2028"}`,
			`{"name":"ann","@other":1}`:                                  `{"name":"ann","@other":1}`,
			`["@last"]`:                                                  `["@last"]`,
			`"@since"`:                                                   `"@since"`,
			`null`:                                                       `null`,
		}
		var got string
		_, r := stage(t, &scripted{join: func(_ context.Context, _ *Socket, m Message) (Accepted, error) {
			got = string(m.Payload)
			return Accept(nil), nil
		}})
		for payload, want := range payloads {
			r.says(t, `["1","1","a","phx_join",`+payload+`]`)
			synctest.Wait()
			if got != want {
				t.Errorf("%s: the channel got %s, want %s", payload, got, want)
			}
		}
	})
}

func TestTopicsOfOneClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := &scripted{leave: func(context.Context, *Socket, Reason) { time.Sleep(time.Second) }}
		h, r := stage(t, ch)
		h.limits.Topics = 40
		do := func(event string, from, to int) (ok, refused int) {
			for i := from; i < to; i++ {
				r.says(t, fmt.Sprintf(`["%d","9","t%d","%s",{}]`, i, i, event))
			}
			synctest.Wait()
			for _, text := range r.takes() {
				switch {
				case strings.Contains(text, `"too many channels joined"`):
					refused++
				case strings.Contains(text, `"status":"ok"`):
					ok++
				}
			}
			return ok, refused
		}
		for _, step := range []struct {
			event       string
			from, to    int
			ok, refused int
		}{
			{"phx_join", 0, 45, 40, 5},
			{"on", 0, 40, 40, 0},
			{"phx_join", 0, 40, 0, 0}, // in place of the first ones, whose leaves take their time
			{"phx_leave", 5, 40, 35, 0},
			{"phx_join", 50, 85, 35, 0}, // at once: the leaves still run, but the topics are left
			{"phx_join", 85, 90, 0, 5},
			{"on", 50, 85, 35, 0},
			{"on", 0, 5, 5, 0},
			{"phx_leave", 50, 85, 35, 0},
			{"phx_join", 100, 110, 5, 5}, // 70 leaves still run: they are not piled up beyond twice as many
		} {
			if ok, refused := do(step.event, step.from, step.to); ok != step.ok || refused != step.refused {
				t.Errorf("%s in t%d to t%d: got %d ok and %d refused, want %d and %d", step.event, step.from, step.to-1, ok, refused, step.ok, step.refused)
			}
			if step.event == "phx_join" && step.ok == 0 && step.refused == 0 {
				time.Sleep(time.Minute) // the second joins come in the end
				if n := len(r.takes()); n != 80 {
					t.Errorf("after these leaves: got %d frames, want 40 replies to the second joins and 40 ends of the first", n)
				}
			}
		}
		r.Close(0, "", Vanished)
		time.Sleep(time.Minute)
		if n := len(h.members("t50")); n != 0 {
			t.Errorf("members when the client is gone: got %d", n)
		}
	})
}

func TestRebroadcastAndBroadcastFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, r := stage(t, &scripted{message: func(ctx context.Context, s *Socket, m Message) (any, error) {
			if m.Event == "from" {
				return nil, s.BroadcastFrom(ctx, m.Event, m.Payload)
			}
			return nil, s.Rebroadcast(ctx, m)
		}})
		other := newReader(h, "other")
		for _, c := range []*reader{r, other} {
			c.says(t, `["1","1","a","phx_join",{}]`)
			synctest.Wait()
			c.wants(t, joinOK)
		}
		r.says(t, `["1","2","a","said",{"n":1}]`)
		r.says(t, `["1","3","a","said",{"@binary":"AAE="}]`)
		r.says(t, `["1","4","a","said",[1]]`)
		r.says(t, `["1","5","a","from",{"n":2}]`)
		synctest.Wait()
		one, two := `[null,null,"a","said",{"n":1}]`, `[null,null,"a","said",{"@binary":"AAE="}]`
		r.wants(t, one, replyOK("2"), two, replyOK("3"),
			`["1","4","a","phx_reply",{"status":"error","response":{"reason":"payload is not an object"}}]`, replyOK("5"))
		other.wants(t, one, two, `[null,null,"a","from",{"n":2}]`)
		other.Close(0, "", Closed)
	})
}

func TestDecode(t *testing.T) {
	var v struct {
		N int `json:"n"`
	}
	for _, test := range []struct {
		m    Message
		want string
	}{
		{Message{Payload: []byte(`{"n":7}`)}, ""},
		{Message{Payload: []byte(`{"n":"seven"}`)}, "malformed payload: n: got string"},
		{Message{Payload: []byte(`[7]`)}, "malformed payload"},
		{Message{Binary: []byte{7}}, "payload is binary, want JSON"},
	} {
		v.N = 0
		err := test.m.Decode(&v)
		text, public := readable(err)
		if test.want == "" && (err != nil || v.N != 7) || test.want != "" && (!public || text != test.want) {
			t.Errorf("%s: got %v and %d, want %q", test.m.Payload, err, v.N, test.want)
		}
	}
}
