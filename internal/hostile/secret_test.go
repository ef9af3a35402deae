package hostile_test

import (
	"encoding/base64"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/internal/raw"
)

// TestNoSecretIsLogged plays a whole scenario, with mistakes in it, and looks
// for what nobody may find in the logs: of chime at Debug, of chi's Logger,
// which prints URLs, and of http.Server. The secret of every hello is one.
func TestNoSecretIsLogged(t *testing.T) {
	s, live := raw.NewRouter(t, chime.WithGrace(15*time.Second))
	access := &raw.LogBook{}
	app := chi.NewRouter()
	app.Use(middleware.RequestLogger(&middleware.DefaultLogFormatter{Logger: log.New(access, "", 0), NoColor: true}))
	app.Mount("/socket", live)
	s.Serve(t, app)
	var secrets []string
	keep := func(secret string) string {
		secrets = append(secrets, secret)
		return secret
	}
	bearer := func(token string) string { return "Authorization: Bearer " + keep(token) }
	sub := func(token string) string {
		return "Sec-WebSocket-Protocol: phoenix, base64url.bearer.phx." + keep(base64.RawURLEncoding.EncodeToString([]byte(keep(token))))
	}
	const payload = "what-alice-wrote"

	w := s.Witness(t)
	ws := s.Phoenix(t, bearer("token-of-alice"))
	ws.Join("hall:1", keep("name-of-alice"))
	ws.Text(`["1",null,"hall:1","say",{"a":"` + keep(payload) + `"}]`)
	w.Hears(`[null,null,"hall:1","say",{"a":"` + payload + `"}]`)
	ws.Text(`["1","3","hall:1","boom",{"a":"` + payload + `"}]`)
	ws.Text(`["1","4","nowhere:1","phx_join",{"a":"` + payload + `"}]`)
	ws.Text(`not JSON, but ` + payload)

	_, _ = s.Upgrade(t, raw.PhoenixTarget, sub("token-of-bob")).Opened(), s.Phoenix(t, "X-Phoenix-AuthToken: "+keep("token-of-carol"))
	dave, secret := s.Chime(t, bearer("token-of-dave"))
	keep(secret)
	dave.Join("hall:1", "dave").Text(`["1","2","hall:1","fail",{}]`)
	resume := func(secret string, header ...string) *raw.Socket {
		return s.Upgrade(t, raw.ChimeTarget, append(header, "Sec-WebSocket-Protocol: chime.v1, chime.secret."+secret)...)
	}
	resumeStream := func(secret string, header ...string) *raw.Stream {
		return s.Stream(t, "/socket/sse", append(header, "Chime-Received: 1", "Chime-Secret: "+secret)...)
	}
	keep(raw.SecretIn(t, resume(keep("an-old-secret-of-128-bits")).Opened().Next()))

	eve := bearer("token-of-eve")
	es, secret := s.Half(t, eve)
	keep(secret)
	s.Post(t, secret, `{"first":1,"frames":[`+raw.JoinHall+`,["1","2","hall:1","mine",{}]]}`, eve).WantApplied(t, 2)
	for _, wrong := range []string{keep(secret + "x"), keep("a-guess-at-a-secret")} {
		_ = s.Post(t, wrong, `{"first":1,"frames":[["1","2","hall:1","say",{"a":"`+payload+`"}]]}`, eve)
		_ = s.Request(t, http.MethodPost, "/socket/bye", wrong)
	}
	_ = s.Post(t, secret, payload, eve)
	_ = s.Post(t, secret, `{"first":9,"frames":[]}`, bearer("token-of-somebody-else"))
	_ = s.Request(t, http.MethodPost, "/socket/sse", payload, eve)
	_ = s.Request(t, http.MethodGet, raw.PhoenixTarget, "", append(raw.UpgradeHeader[:3:3], sub("token-of-a-bad-handshake"), "Sec-WebSocket-Key: no")...)
	_ = s.Request(t, http.MethodGet, "/socket/sse?join=hall:1", "", bearer("token-of-a-foreigner"), "Origin: https://evil.example")
	outage := bearer("database down") // WithConnect fails, and the log says with what
	for _, res := range []*raw.Answer{
		s.Upgrade(t, raw.PhoenixTarget, outage).Head, resume(secret, outage).Head,
		resumeStream(secret, outage).Head, s.Post(t, secret, `{"first":3,"frames":[]}`, outage),
	} {
		res.Want(t, http.StatusServiceUnavailable, `{"reason":"unavailable"}`)
	}
	s.Stream(t, "/socket/sse?join=hall:1", outage).WantLater()
	s.Request(t, http.MethodPost, "/socket/bye", secret).Want(t, http.StatusNoContent, "")
	for es.Next().Data != `[null,null,"chime","closed",{"code":1000,"reason":"bye"}]` {
	}

	grace := bearer("token-of-grace")
	polls := s.Poll(t, grace)
	keep(polls.Secret)
	polls.Post(`{"first":1,"frames":[`+raw.JoinHall+`,["1","2","hall:1","fail",{"a":"`+payload+`"}]]}`).WantApplied(t, 2)
	polls.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`, `["1","2","hall:1","phx_reply",{"status":"error","response":{"reason":"internal"}}]`)
	for _, wrong := range []string{keep(polls.Secret + "x"), keep("a-guess-at-a-poll")} {
		s.Request(t, http.MethodGet, "/socket/poll", "", grace, "Chime-Received: 0", "Chime-Secret: "+wrong).Want(t, http.StatusGone, `{"reason":"no such client socket"}`)
	}
	s.Request(t, http.MethodGet, "/socket/poll", "", outage, "Chime-Received: 2", "Chime-Secret: "+polls.Secret).Want(t, http.StatusServiceUnavailable, `{"reason":"unavailable"}`)
	_ = s.Request(t, http.MethodGet, "/socket/longpoll?vsn=2.0.0", "", bearer("token-of-heidi"), "X-Phoenix-Longpoll-Token: "+keep("a-poll-of-nobody")+".1")
	_ = polls.Post(payload)
	s.Request(t, http.MethodPost, "/socket/bye", polls.Secret).Want(t, http.StatusNoContent, "")

	frank, thief := bearer("token-of-frank"), bearer("token-of-a-thief")
	former, first := s.Chime(t, frank)
	keep(first)
	former.Join("hall:1", "frank")
	_ = former.Conn.Close()
	keep(raw.SecretIn(t, resume(first, frank).Opened().Next())) // it is not promoted
	next := resumeStream(first, frank).Opened()
	second := keep(raw.SecretIn(t, next.Next().Data))
	s.Post(t, second, `{"first":2,"received":1,"frames":[["1","2","hall:1","fail",{}]]}`, frank).WantApplied(t, 2)
	next.Want(`["1","2","hall:1","phx_reply",{"status":"error","response":{"reason":"internal"}}]`) // which is acknowledged below
	for _, res := range []*raw.Answer{resume(second, thief).Head, resumeStream(second, thief).Head} {
		res.Want(t, http.StatusForbidden, `{"reason":"this client socket belongs to another identity"}`)
	}
	for _, wrong := range []string{first, keep("wrong-" + second)} { // each is the beginning of another client socket
		keep(raw.SecretIn(t, resume(wrong, frank).Opened().Next()))
		keep(raw.SecretIn(t, resumeStream(wrong, frank).Opened().Next().Data))
	}
	back := resume(second, frank).Opened()
	keep(raw.SecretIn(t, back.Next()))
	back.Text(`[null,null,"chime","ack",{"received":2}]`)
	for next.Next().Data != `[null,null,"chime","closed",{"code":4001,"reason":"moved"}]` {
	}
	back.Text(`["1","3","hall:1","echo",{"a":"` + payload + `"}]`)
	back.Want(`["1","3","hall:1","phx_reply",{"status":"ok","response":{"a":"` + payload + `"}}]`)

	if err := live.Disconnect(t.Context(), "token-of-dave"); err != nil {
		t.Error(err)
	}
	w.IsWell()
	s.Shutdown(t)

	for where, text := range map[string]string{"chime's and http.Server's": s.Logs.String(), "chi's": access.String()} {
		if len(text) < 500 {
			t.Errorf("%s log has only %d bytes: is it the right one?", where, len(text))
		}
		for _, secret := range secrets {
			if i := strings.Index(text, secret); i >= 0 {
				t.Errorf("%s log has %q: …%s…", where, secret, raw.Clip(text[max(0, i-100):]))
			}
		}
	}
}

// TestTokenIsFoundWhereClientsPutIt and nowhere else.
func TestTokenIsFoundWhereClientsPutIt(t *testing.T) {
	const token = "a/b+c?~\xff" // in base64 it has characters of both alphabets
	standard := base64.RawStdEncoding.EncodeToString([]byte(token))
	for name, c := range map[string]struct {
		target, header, value, want string
	}{
		"Authorization":              {"/", "Authorization", "Bearer abc", "abc"},
		"Authorization in lowercase": {"/", "Authorization", "bearer  abc ", "abc"},
		"another scheme":             {"/", "Authorization", "Basic abc", ""},
		"no scheme":                  {"/", "Authorization", "abc", ""},
		"X-Phoenix-AuthToken":        {"/", "X-Phoenix-AuthToken", "abc", "abc"},
		"a subprotocol":              {"/", "Sec-WebSocket-Protocol", "phoenix, base64url.bearer.phx." + standard, token},
		"a subprotocol with padding": {"/", "Sec-WebSocket-Protocol", "base64url.bearer.phx." + base64.StdEncoding.EncodeToString([]byte(token)), token},
		"a subprotocol of a URL":     {"/", "Sec-WebSocket-Protocol", "chime.v1,base64url.bearer.phx." + base64.RawURLEncoding.EncodeToString([]byte(token)), token},
		"a subprotocol of rubbish":   {"/", "Sec-WebSocket-Protocol", "base64url.bearer.phx.*", ""},
		"another subprotocol":        {"/", "Sec-WebSocket-Protocol", "chime.secret.abc", ""},
		"the URL":                    {"/?token=abc&access_token=abc", "X-Nothing", "", ""},
		"a cookie":                   {"/", "Cookie", "token=abc", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, c.target, nil)
			r.Header.Set(c.header, c.value)
			if got := chime.Token(r); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// tapped is a connection of the application's own making: it embeds a TCP
// connection, as many do, and changes what it reads and writes.
type tapped struct{ *net.TCPConn }

func (c tapped) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	flip(p[:n])
	return n, err
}

func (c tapped) Write(p []byte) (int, error) {
	q := append([]byte(nil), p...)
	flip(q)
	return c.TCPConn.Write(q)
}

func flip(p []byte) {
	for i := range p {
		p[i] ^= 0x55
	}
}

type tappedListener struct{ net.Listener }

func (l tappedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return tapped{c.(*net.TCPConn)}, nil
}

// TestEveryByteGoesThroughAConnectionThatWrapsASocket: one that encrypts, say.
// To write to the socket beneath it would be to send what it was to hide.
func TestEveryByteGoesThroughAConnectionThatWrapsASocket(t *testing.T) {
	s, live := raw.NewRouter(t)
	app := chi.NewRouter()
	app.Mount("/socket", live)
	server := httptest.NewUnstartedServer(app)
	server.Listener = tappedListener{server.Listener}
	server.Config.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(s.Logs, nil), slog.LevelError)
	server.Start()
	t.Cleanup(func() {
		s.Shutdown(t)
		server.Close()
	})
	s.Host = server.Listener.Addr().String()
	s.Dial = func() (net.Conn, error) {
		c, err := net.Dial("tcp", s.Host)
		if err != nil {
			return nil, err
		}
		return tapped{c.(*net.TCPConn)}, nil
	}
	w := s.Witness(t)
	ws := s.Phoenix(t).Join("hall:1", "guest")
	ws.Text(`["1",null,"hall:1","say",{"n":1}]`)
	w.Hears(`[null,null,"hall:1","say",{"n":1}]`)
	w.IsWell()
}
