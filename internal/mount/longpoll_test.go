package mount_test

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/transport"
)

// What Phoenix's own tests of its long-polling say, of ours (long_poll_channels_test.exs
// and long_poll_socket_test.exs).

// lounge is a channel for a client of Phoenix.
type lounge struct{}

func (lounge) HandleJoined(_ context.Context, s *channel.Socket, _ channel.Message) (channel.Accepted, error) {
	if s.Topic() == "lounge:closed" {
		return channel.Accepted{}, channel.Refuse("closed")
	}
	return channel.Accept(nil), nil
}

func (lounge) HandleLeave(context.Context, *channel.Socket, channel.Reason) {}

func (lounge) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	switch m.Event {
	case "boom":
		panic("boom")
	case "say":
		return nil, s.Rebroadcast(ctx, m)
	}
	return map[string]int{"bytes": len(m.Binary)}, nil
}

// phoenixSite is a Router, asked without a network.
type phoenixSite struct {
	t     *testing.T
	live  *chime.Router
	token string
}

type phoenixSaid struct {
	Status   int
	Token    *string
	Messages []string
}

// onPhoenixSite runs a test in a bubble. Nobody named mallory may connect.
func onPhoenixSite(t *testing.T, limits transport.Limits, run func(t *testing.T, s *phoenixSite)) {
	synctest.Test(t, func(t *testing.T) {
		live := chime.NewRouter(chime.WithLogger(slog.New(slog.DiscardHandler)), chime.WithLimits(limits), chime.WithConnect(func(r *http.Request) (chime.Identity, error) {
			switch name := cmp.Or(r.URL.Query().Get("name"), chime.Token(r)); name {
			case "mallory":
				return chime.Identity{}, chime.RefuseConnect(http.StatusUnauthorized, "not you")
			case "later":
				return chime.Identity{}, io.ErrUnexpectedEOF
			default:
				return chime.Identity{ID: name}, nil
			}
		}))
		live.Channel("lounge:{id}", lounge{})
		defer func() { _ = live.Shutdown(context.Background()) }()
		run(t, &phoenixSite{t: t, live: live})
	})
}

func (s *phoenixSite) ask(method, query, body string, header ...string) (phoenixSaid, *httptest.ResponseRecorder) {
	s.t.Helper()
	r := httptest.NewRequest(method, "/longpoll?"+query, strings.NewReader(body))
	if body == "" {
		r = httptest.NewRequest(method, "/longpoll?"+query, nil)
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	http.Handler(s.live).ServeHTTP(w, r)
	var said phoenixSaid
	if err := json.Unmarshal(w.Body.Bytes(), &said); err != nil {
		s.t.Fatalf("%s: %d %s", method, w.Code, w.Body)
	}
	return said, w
}

// get polls with the token of the last reply.
func (s *phoenixSite) get() phoenixSaid {
	s.t.Helper()
	said, _ := s.ask(http.MethodGet, "vsn=2.0.0&name=ada&token="+url.QueryEscape(s.token), "")
	s.token = ""
	if said.Token != nil {
		s.token = *said.Token
	}
	return said
}

func (s *phoenixSite) want(said phoenixSaid, status int, messages ...string) {
	s.t.Helper()
	if said.Status != status || strings.Join(said.Messages, "\n") != strings.Join(messages, "\n") {
		s.t.Errorf("got %d %s, want %d %s", said.Status, said.Messages, status, messages)
	}
}

func (s *phoenixSite) post(want int, lines ...string) {
	s.t.Helper()
	said, _ := s.ask(http.MethodPost, "vsn=2.0.0&name=ada&token="+s.token, strings.Join(lines, "\n"), "Content-Type: application/x-ndjson")
	if said.Status != want {
		s.t.Errorf("POST: got %d, want %d", said.Status, want)
	}
	synctest.Wait()
}

const (
	joinLounge  = `["1","1","lounge:1","phx_join",{}]`
	joined      = `["1","1","lounge:1","phx_reply",{"status":"ok","response":{}}]`
	unmatchedBy = `[null,"%s","%s","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`
)

// open opens a session and joins.
func (s *phoenixSite) open() {
	s.t.Helper()
	s.want(s.get(), 410)
	s.post(200, joinLounge)
	s.want(s.get(), 200, joined)
}

func TestPhoenixLongPoll(t *testing.T) {
	for name, run := range map[string]func(t *testing.T, s *phoenixSite){
		"opens, joins, and waits for what comes": func(t *testing.T, s *phoenixSite) {
			s.open()
			start := time.Now()
			s.want(s.get(), 204)
			if took := time.Since(start); took != 10*time.Second {
				t.Errorf("an empty poll took %v, want 10s", took)
			}
			time.AfterFunc(time.Second, func() { _ = s.live.Broadcast(context.Background(), "lounge:1", "said", map[string]int{"n": 1}) })
			s.want(s.get(), 200, `[null,null,"lounge:1","said",{"n":1}]`)
		},
		"a reply that was lost is given again": func(t *testing.T, s *phoenixSite) {
			s.want(s.get(), 410)
			former := s.token
			s.post(200, joinLounge)
			s.want(s.get(), 200, joined)
			s.token = former
			s.want(s.get(), 200, joined)
			s.want(s.get(), 204)
		},
		"joins as many topics as it may": func(t *testing.T, s *phoenixSite) {
			s.open()
			s.post(200, `["2","2","lounge:2","phx_join",{}]`, `["3","3","lounge:3","phx_join",{}]`)
			said := s.get()
			if text := strings.Join(said.Messages, " "); said.Status != 200 || strings.Count(text, `"ok"`) != 1 || !strings.Contains(text, "too many channels joined") {
				t.Errorf("got %d %s, want one join accepted and one refused", said.Status, said.Messages)
			}
		},
		"what it broadcasts comes back, and what it sends elsewhere is an error": func(t *testing.T, s *phoenixSite) {
			s.open()
			s.post(200, `["1","2","lounge:1","say",{"n":1}]`)
			said := s.get()
			if text := strings.Join(said.Messages, " "); said.Status != 200 || !strings.Contains(text, `[null,null,"lounge:1","say",{"n":1}]`) {
				t.Errorf("got %d %s", said.Status, said.Messages)
			}
			s.post(200, `["7","3","lounge:9","say",{}]`)
			s.want(s.get(), 200, fmt.Sprintf(unmatchedBy, "3", "lounge:9"))
		},
		"a batch keeps its order, drops what is of an earlier join, and takes bytes": func(t *testing.T, s *phoenixSite) {
			s.open()
			binary := base64.StdEncoding.EncodeToString([]byte("\x00\x01\x01\x08\x05" + "1" + "4" + "lounge:1" + "bytes" + "\x00\x01\x02"))
			s.post(200, `[null,"2","lounge:1","one",{}]`, `["0","3","lounge:1","stale",{}]`, binary, `["1","5","lounge:1","two",{}]`)
			ok := func(ref string, n int) string {
				return fmt.Sprintf(`["1",%q,"lounge:1","phx_reply",{"status":"ok","response":{"bytes":%d}}]`, ref, n)
			}
			s.want(s.get(), 200, ok("2", 0), ok("4", 3), ok("5", 0))
		},
		"a session that is not polled ends": func(t *testing.T, s *phoenixSite) {
			s.open()
			time.Sleep(16 * time.Second)
			if list, err := s.live.Members(t.Context(), "lounge:1"); len(list) != 0 || err != nil {
				t.Errorf("members %v, %v after 16s without a poll, want none", list, err)
			}
			s.post(410, joinLounge)
			s.want(s.get(), 500)
			if s.token != "" {
				t.Errorf("got the token %s of no session, want null", s.token)
			}
		},
		"only so many lines of a batch are taken": func(t *testing.T, s *phoenixSite) {
			s.open()
			line := `["1",null,"lounge:1","say",{}]`
			s.post(200, line, line, line, line, line, line)
			if said := s.get(); len(said.Messages) != 4 {
				t.Errorf("got %d messages, want 4", len(said.Messages))
			}
		},
		"who may not connect is told so, and who may later tries again": func(t *testing.T, s *phoenixSite) {
			said, _ := s.ask(http.MethodGet, "vsn=2.0.0&name=mallory", "")
			s.want(said, 403)
			said, _ = s.ask(http.MethodGet, "vsn=2.0.0&name=later", "")
			s.want(said, 500)
			_, res := s.ask(http.MethodGet, "vsn=2.0.0&name=ada", "", "Origin: https://evil.example")
			if res.Code != http.StatusForbidden {
				t.Errorf("a foreign origin: got %d, want 403", res.Code)
			}
			s.open()
			said, _ = s.ask(http.MethodGet, "vsn=2.0.0&name=bob&token="+s.token, "")
			s.want(said, 403)
		},
		"a crash is told": func(t *testing.T, s *phoenixSite) {
			s.open()
			s.post(200, `["1","2","lounge:1","boom",{}]`)
			s.want(s.get(), 200, `["1","1","lounge:1","phx_error",{"reason":"channel_crash"}]`)
		},
		"a leave of an earlier join is dropped, one of none is taken": func(t *testing.T, s *phoenixSite) {
			s.open()
			s.post(200, `["0","2","lounge:1","phx_leave",{}]`)
			s.want(s.get(), 204)
			s.post(200, `[null,"3","lounge:1","phx_leave",{}]`)
			said := s.get()
			if text := strings.Join(said.Messages, " "); !strings.Contains(text, "phx_close") {
				t.Errorf("got %d %s, want a phx_close", said.Status, said.Messages)
			}
		},
		"a disconnect ends it": func(t *testing.T, s *phoenixSite) {
			s.open()
			time.AfterFunc(time.Second, func() { _ = s.live.Disconnect(context.Background(), "ada") })
			s.want(s.get(), 204) // woken, with nothing in it
			s.want(s.get(), 500)
		},
		"another version is refused": func(t *testing.T, s *phoenixSite) {
			said, _ := s.ask(http.MethodGet, "vsn=9.0.0&name=ada", "")
			s.want(said, 403)
		},
		"any type of content is one frame": func(t *testing.T, s *phoenixSite) {
			s.want(s.get(), 410)
			said, _ := s.ask(http.MethodPost, "vsn=2.0.0&name=ada&token="+s.token, joinLounge, "Content-Type: text/whatever")
			s.want(said, 200)
			s.want(s.get(), 200, joined)
		},
		"a token in the header beats one in the query, and nothing is cached": func(t *testing.T, s *phoenixSite) {
			s.want(s.get(), 410)
			s.post(200, joinLounge)
			said, res := s.ask(http.MethodGet, "vsn=2.0.0&name=ada&token=stale.0", "", "X-Phoenix-Longpoll-Token: "+s.token)
			s.want(said, 200, joined)
			if got := res.Header().Get("Cache-Control"); !strings.Contains(got, "no-store") {
				t.Errorf("Cache-Control: %q, want no-store", got)
			}
		},
		"who connected with a token that polls alone have may post": func(t *testing.T, s *phoenixSite) {
			const authToken = "X-Phoenix-AuthToken: ada"
			said, _ := s.ask(http.MethodGet, "vsn=2.0.0", "", authToken)
			s.want(said, 410)
			query := "vsn=2.0.0&token=" + *said.Token
			said, _ = s.ask(http.MethodPost, query, joinLounge)
			s.want(said, 200)
			said, _ = s.ask(http.MethodGet, query, "")
			s.want(said, 403)
			said, _ = s.ask(http.MethodGet, query, "", authToken)
			s.want(said, 200, joined)
		},
		"what is no frame ends it": func(t *testing.T, s *phoenixSite) {
			s.open()
			s.post(400, `[1`)
			s.post(410, joinLounge)
		},
		"version 1 is spoken, too": func(t *testing.T, s *phoenixSite) {
			said, _ := s.ask(http.MethodGet, "name=ada", "")
			s.want(said, 410)
			query := "name=ada&token=" + *said.Token
			said, _ = s.ask(http.MethodPost, query, `{"topic":"lounge:1","event":"phx_join","payload":{},"ref":"1"}`)
			s.want(said, 200)
			said, _ = s.ask(http.MethodGet, query, "")
			s.want(said, 200, `{"topic":"lounge:1","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":"1"}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			limits := transport.Limits{Topics: 2}
			if strings.HasPrefix(name, "only so many") {
				limits.BatchMessages = 4
			}
			onPhoenixSite(t, limits, run)
		})
	}
}
