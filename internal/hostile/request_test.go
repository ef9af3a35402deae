package hostile_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/internal/raw"
)

// Requests that open a connection, and would cost the server more than they cost
// who sends them, or last longer than they may.

// An upgrade has no body. Net/http would wait for one before it hands the
// connection over, and with it a Shutdown.
func TestAnUpgradeWithABodyIsRefusedAtOnce(t *testing.T) {
	for _, body := range []string{"Content-Length: 50", "Transfer-Encoding: chunked"} {
		t.Run(body, func(t *testing.T) {
			raw.InBubble(t, &http.Server{}, nil, func(t *testing.T, s *raw.Site) {
				began := time.Now()
				conn := s.Connect(t)
				request := "GET " + raw.PhoenixTarget + " HTTP/1.1\r\nHost: " + s.Host + "\r\n" + strings.Join(raw.UpgradeHeader, "\r\n") + "\r\n" + body + "\r\n\r\n"
				if _, err := io.WriteString(conn, request); err != nil {
					t.Fatal(err)
				}
				raw.AnswerOn(t, bufio.NewReader(conn), nil).Want(t, http.StatusBadRequest, `{"reason":"the request has a body: want none here"}`)
				if err := s.Live.Shutdown(context.Background()); err != nil {
					t.Errorf("shutdown: %v", err)
				}
				if took := time.Since(began); took > time.Second {
					t.Errorf("it took %s, want that nobody waits for a body", took)
				}
			})
		})
	}
}

// Net/http would wait for the body of any request before it answers, and again
// before it closes the connection. Whatever is asked, a body that does not come keeps
// the connection for a second; one that is wanted, for ten.
func TestABodyThatNeverComesIsGivenUpWhateverIsAsked(t *testing.T) {
	upgrade := strings.Join(raw.UpgradeHeader, "\r\n")
	for _, c := range []struct {
		request, header string
		status          int
	}{
		{"POST /socket/sse", "X-None: 1", http.StatusBadRequest},
		{"POST /socket/sse", "Chime-Secret: wrong", http.StatusGone},
		{"POST /socket/sse", "Authorization: Bearer banned\r\nChime-Secret: wrong", http.StatusUnauthorized},
		{"POST /socket/sse", "Origin: https://evil.example", http.StatusForbidden},
		{"POST /socket/wait", "Origin: https://evil.example", http.StatusForbidden},
		{"POST /socket/wait", "Authorization: Bearer banned", http.StatusUnauthorized},
		{"POST /socket/poll", "Chime-Secret: wrong", http.StatusGone},
		{"POST /socket/bye", "Origin: https://evil.example", http.StatusForbidden},
		{"POST /socket/nothing", "X-None: 1", http.StatusNotFound},
		{"POST /socket/chime.js", "X-None: 1", http.StatusMethodNotAllowed},
		{"POST /socket/", "X-None: 1", http.StatusMethodNotAllowed},
		{"PUT /socket/sse", "X-None: 1", http.StatusMethodNotAllowed},
		{"OPTIONS /socket/sse", "X-None: 1", http.StatusBadRequest},
		{"HEAD /socket/sse", "X-None: 1", http.StatusBadRequest},
		{"GET /socket/", "X-None: 1", http.StatusBadRequest},
		{"GET /socket/chime.js", "X-None: 1", http.StatusBadRequest},
		{"GET /socket/sse", "X-None: 1", http.StatusBadRequest},
		{"GET /socket/sse", "Chime-Received: 0", http.StatusBadRequest},
		{"GET /socket/sse?join=hall:1", "X-None: 1", http.StatusBadRequest},
		{"GET /socket/poll", "Chime-Received: 0", http.StatusBadRequest},
		{"GET /socket/websocket", "X-None: 1", http.StatusBadRequest},
		{"GET " + raw.PhoenixTarget, upgrade, http.StatusBadRequest},
		{"GET /socket/", upgrade, http.StatusBadRequest},
	} {
		for _, body := range []string{"Content-Length: 50", "Transfer-Encoding: chunked"} {
			t.Run(c.request+" "+c.header+" "+body, func(t *testing.T) {
				raw.InBubble(t, &http.Server{}, nil, func(t *testing.T, s *raw.Site) {
					began := time.Now()
					conn := s.Connect(t)
					if _, err := fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: %s\r\n%s\r\n%s\r\n\r\n", c.request, s.Host, c.header, body); err != nil {
						t.Fatal(err)
					}
					if got := raw.AnswerOn(t, bufio.NewReader(conn), nil).StatusCode; got != c.status {
						t.Errorf("got %d, want %d", got, c.status)
					}
					if _, err := io.Copy(io.Discard, conn); err != nil {
						t.Errorf("reading on: %v, want the end", err)
					}
					if took := time.Since(began); took > 2*time.Second {
						t.Errorf("it took %s, want a second, and what net/http takes to close", took)
					}
				})
			})
		}
	}
}

// A body that is wanted has ten seconds, and one more once the server drains.
func TestABodyThatIsWantedIsGivenUpToo(t *testing.T) {
	for _, drains := range []bool{false, true} {
		t.Run(fmt.Sprintf("drain %v", drains), func(t *testing.T) {
			raw.InBubble(t, &http.Server{}, nil, func(t *testing.T, s *raw.Site) {
				half, secret := s.Half(t)
				raw.Ignore(half.Conn)
				began := time.Now()
				for _, request := range []string{
					"POST /socket/bye HTTP/1.1\r\nHost: " + s.Host,
					"POST /socket/sse HTTP/1.1\r\nHost: " + s.Host + "\r\nChime-Secret: " + secret,
				} {
					conn := s.Connect(t)
					if _, err := io.WriteString(conn, request+"\r\nContent-Length: 50\r\n\r\n"); err != nil {
						t.Fatal(err)
					}
					defer func() {
						_, _ = io.Copy(io.Discard, conn)
						want := 10 * time.Second
						if drains {
							want = time.Second
						}
						if took := time.Since(began); took < want || took > want+2*time.Second {
							t.Errorf("%s: given up after %v, want %v, and what net/http takes to close", request[:16], took, want)
						}
					}()
				}
				synctest.Wait()
				if drains {
					if err := s.Live.Shutdown(context.Background()); err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
}

// The payload of a join in a URL is a message like any other, and it is made
// for nobody who may not connect.
func TestAJoinInAURLIsBoundedAsAnyOther(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
	const most = 64 << 10
	long := func(n int) string { return "/socket/sse?join=hall:1&as=attacker&x=" + strings.Repeat("<", n) }
	const around = len(`{"as":"attacker","x":""}`)
	s.Stream(t, long(most-around)).Opened().Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
	s.Stream(t, long(most-around+1)).Head.Want(t, http.StatusBadRequest, fmt.Sprintf(`{"reason":"join: a payload of %d bytes: want at most %d"}`, most+1, most))
	s.Stream(t, long(most), "Authorization: Bearer banned").Head.Want(t, http.StatusUnauthorized, `{"reason":"banned"}`)
	w.IsWell()
}

func TestTooManySubprotocolsAreRefused(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
	ws := s.Upgrade(t, raw.ChimeTarget, "Sec-WebSocket-Protocol: "+strings.Repeat(",", 100_000)+"chime.v1")
	ws.Head.Want(t, http.StatusBadRequest, `{"reason":"the subprotocols are over 16384 bytes"}`)
	s.Upgrade(t, raw.ChimeTarget, "Sec-WebSocket-Protocol: "+strings.Repeat(",", 10_000)+"chime.v1").Opened()
	w.IsWell()
}

// An identity that expires in the past is refused.
func TestWhoHasExpiredIsRefused(t *testing.T) {
	expires := map[string]time.Time{
		"yesterday": time.Now().Add(-24 * time.Hour),
		"1970":      time.Unix(0, 0), // of a token that says no time, as some read it
		"year 1":    time.Time{}.Add(time.Second),
	}
	s := raw.NewSite(t, chime.WithConnect(func(r *http.Request) (chime.Identity, error) {
		token := chime.Token(r)
		return chime.Identity{ID: "ada", Expires: expires[token]}, nil
	}))
	w := s.Witness(t)
	_, secret := s.Half(t)
	for token := range expires {
		bearer := "Authorization: Bearer " + token
		for half, res := range map[string]*raw.Answer{
			"phoenix": s.Upgrade(t, raw.PhoenixTarget, bearer).Head,
			"chime":   s.Upgrade(t, raw.ChimeTarget, raw.ChimeProtocol, bearer).Head,
			"stream":  s.Stream(t, "/socket/sse", "Chime-Received: 0", bearer).Head,
			"bare":    s.Stream(t, "/socket/sse?join=hall:1", bearer).Head,
			"post":    s.Post(t, secret, `{"first":1,"frames":[`+raw.JoinHall+`]}`, bearer),
			"poll":    s.Request(t, http.MethodGet, "/socket/poll", "", "Chime-Received: 0", bearer),
		} {
			t.Run(half+" "+token, func(t *testing.T) { res.Want(t, http.StatusUnauthorized, `{"reason":"expired"}`) })
		}
	}
	w.IsWell()
	s.Hall.WantNobodyLeft(t)
}

// So an application ends a client whose time is over before it was said to be.
func TestWhoIsSaidToHaveExpiredIsEnded(t *testing.T) {
	connect := chime.WithConnect(func(r *http.Request) (chime.Identity, error) {
		switch chime.Token(r) {
		case "over":
			return chime.Identity{ID: "ada", Expires: time.Now().Add(-time.Second)}, nil
		case "bob's over":
			return chime.Identity{ID: "bob", Expires: time.Now().Add(-time.Second)}, nil
		}
		return chime.Identity{ID: "ada", Expires: time.Now().Add(time.Hour)}, nil
	})
	for name, come := range map[string]func(t *testing.T, s *raw.Site, secret, token string) *raw.Answer{
		"on a POST": func(t *testing.T, s *raw.Site, secret, token string) *raw.Answer {
			return s.Post(t, secret, `{"first":2,"frames":[]}`, token)
		},
		"on a stream": func(t *testing.T, s *raw.Site, secret, token string) *raw.Answer {
			return s.Stream(t, "/socket/sse", "Chime-Received: 0", "Chime-Secret: "+secret, token).Head
		},
		"on a WebSocket": func(t *testing.T, s *raw.Site, secret, token string) *raw.Answer {
			return s.Upgrade(t, raw.ChimeTarget, raw.ChimeProtocol+", chime.secret."+secret, token).Head
		},
	} {
		t.Run(name, func(t *testing.T) {
			raw.InBubble(t, &http.Server{}, []chime.Option{connect, chime.WithGrace(time.Minute)}, func(t *testing.T, s *raw.Site) {
				w := s.Witness(t)
				es, secret := s.Half(t)
				s.Post(t, secret, `{"first":1,"frames":[["1","1","hall:1","phx_join",{"as":"attacker"}]]}`).WantApplied(t, 1)
				es.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
				raw.Ignore(es.Conn)
				const expired = `{"reason":"expired"}`
				come(t, s, secret, "Authorization: Bearer bob's over").Want(t, http.StatusUnauthorized, expired)
				synctest.Wait()
				s.Hall.WantNobodyLeft(t)
				come(t, s, secret, "Authorization: Bearer over").Want(t, http.StatusUnauthorized, expired)
				s.Hall.WantLeft(t, "hall:1", "attacker", "expired")
				w.IsWell()
			})
		})
	}
}

// A time so far away that it stands for never is that.
func TestWhoExpiresInTheYear9999Stays(t *testing.T) {
	connect := chime.WithConnect(func(*http.Request) (chime.Identity, error) {
		return chime.Identity{ID: "ada", Expires: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)}, nil
	})
	raw.InBubble(t, &http.Server{}, []chime.Option{connect}, func(t *testing.T, s *raw.Site) {
		s.Phoenix(t).Join("hall:1", "ada").Stay()
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		s.Hall.WantNobodyLeft(t)
		if got := s.Members(t, "hall:1"); len(got) != 1 {
			t.Errorf("a day later there are the members %v, want 1", got)
		}
	})
}

// What anybody can send is not logged at any length.
func TestTheLogOfARefusedOriginIsShort(t *testing.T) {
	s := raw.NewSite(t)
	long := strings.Repeat("x", 500_000)
	if got := s.Stream(t, "/socket/sse", "Chime-Received: 0", "Host: "+long[:1000], "Origin: https://"+long).Head.StatusCode; got != http.StatusForbidden {
		t.Errorf("got %d, want 403", got)
	}
	if log := s.Logs.String(); len(log) > 2000 || !strings.Contains(log, "origin refused") {
		t.Errorf("the log has %d bytes: %s", len(log), raw.Clip(log))
	}
}

// Nothing is asked of a client behind the request of its stream. A little is
// dropped, such as a line break; one that sends on and on is not read for ever.
func TestAStreamWhoseClientSendsOnIsEnded(t *testing.T) {
	raw.InBubble(t, &http.Server{}, nil, func(t *testing.T, s *raw.Site) {
		w := s.Witness(t)
		es := s.Bare(t, "join=hall:1&as=attacker")
		es.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
		raw.Ignore(es.Conn)
		if _, err := io.WriteString(es.Conn, "\r\n"); err != nil {
			t.Fatal(err)
		}
		w.IsWell()
		s.Hall.WantNobodyLeft(t)
		n, _ := es.Conn.Write(make([]byte, 1<<20))
		if n > 128<<10 {
			t.Errorf("%d bytes were read, want some 64 KiB", n)
		}
		s.Hall.WantLeft(t, "hall:1", "attacker", "vanished")
		w.IsWell()
	})
}
