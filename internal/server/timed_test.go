package server_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/internal/server"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

func TestAMessageThatDoesNotEndIsGivenUp(t *testing.T) {
	begin := map[string]func(*socket) error{
		"a fragment": func(ws *socket) error { return ws.write(opText, strings.Repeat("a", 60_000)) },
		"a byte of a frame": func(ws *socket) error {
			_, err := ws.Write([]byte{fin | opText, 0x80 | 126, 0xf0, 0, 1, 2, 3, 4, 0})
			return err
		},
	}
	for name, begin := range begin {
		for _, dialect := range []func(*site) (*socket, error){(*site).chime, (*site).phoenix} {
			t.Run(name, func(t *testing.T) {
				inBubble(t, network{}, server.Config{}, nil, func(t *testing.T, b *bubble) {
					ws, err := dialect(b.site)
					if err != nil {
						t.Fatal(err)
					}
					defer ws.Close()
					go func() { _, _ = io.Copy(io.Discard, ws) }()
					c := <-b.clients
					time.Sleep(20 * time.Second)
					if err := begin(ws); err != nil {
						t.Fatal(err)
					}
					began := time.Now()
					for range 5 { // within a message a ping is no sign of its end
						time.Sleep(5 * time.Second)
						if name == "a fragment" {
							err = ws.write(fin|opPing, "still here")
						} else {
							_, err = ws.Write([]byte{0})
						}
						if err != nil {
							t.Fatalf("after %v: %v", time.Since(began), err)
						}
					}
					wantDeparture(t, c, began, 30*time.Second, transport.Vanished)
				})
			})
		}
	}
}

// The time is that of one message: those that come in pieces do not add up.
func TestMessagesInPiecesEndNoConnection(t *testing.T) {
	inBubble(t, network{}, server.Config{}, nil, func(t *testing.T, b *bubble) {
		ws, err := b.phoenix()
		if err != nil {
			t.Fatal(err)
		}
		defer ws.Close()
		go func() { _, _ = io.Copy(io.Discard, ws) }()
		c := <-b.clients
		for range 5 {
			for _, piece := range []struct {
				opcode byte
				text   string
			}{{opText, `[null,"7",`}, {0, `"phoenix",`}, {fin, `"heartbeat",{}]`}} {
				time.Sleep(12 * time.Second)
				if err := ws.write(piece.opcode, piece.text); err != nil {
					t.Fatal(err)
				}
			}
		}
		synctest.Wait()
		if len(c.closed) > 0 {
			t.Fatalf("got Closed(%s), want it to stay", (<-c.closed).why)
		}
		wantDeparture(t, c, time.Now(), 60*time.Second, transport.Vanished)
	})
}

func TestAnIdentityExpiresOnTime(t *testing.T) {
	for _, after := range []time.Duration{time.Second, 20 * time.Second} {
		cfg := server.Config{Connect: func(*http.Request) (transport.Identity, error) {
			return transport.Identity{Expires: time.Now().Add(after)}, nil
		}}
		t.Run(after.String(), func(t *testing.T) {
			onEach(t, cfg, func(t *testing.T, b *bubble, l line, c *client) {
				start := time.Now()
				text, err := l.text()
				if text == heartbeat(0) {
					text, err = l.text()
				}
				end, ok := errors.AsType[*End](err)
				if at := time.Since(start); !ok || *end != (End{Code: 1001, Reason: "expired"}) || at != after {
					t.Errorf("after %v got %s and error %v, want after %v the end with 1001 expired", at, text, err, after)
				}
				wantDeparture(t, c, start, after, transport.Expired)
			})
		})
	}
}

func TestAPeerThatDoesNotAnswerACloseIsCutOff(t *testing.T) {
	for _, test := range []struct {
		name string
		open func(*site) (io.Reader, io.Writer, error)
	}{
		{"websocket", func(s *site) (io.Reader, io.Writer, error) {
			ws, err := s.phoenix()
			if err != nil {
				return nil, nil, err
			}
			return ws.r, ws, nil
		}},
		{"sse", func(s *site) (io.Reader, io.Writer, error) {
			conn, err := s.connect()
			if err != nil {
				return nil, nil, err
			}
			if _, err := io.WriteString(conn, "GET /sse?join=room:1 HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
				return nil, nil, err
			}
			r := bufio.NewReaderSize(conn, 16)
			res, err := http.ReadResponse(r, nil) //nolint:bodyclose // its connection ends by itself
			if err == nil {
				first := make([]byte, len(": chime\n\n"))
				_, err = io.ReadFull(res.Body, first)
			}
			return r, conn, err
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, network{}, server.Config{}, nil, func(t *testing.T, b *bubble) {
				r, w, err := test.open(b.site)
				if err != nil {
					t.Fatal(err)
				}
				c := <-b.clients
				start := time.Now()
				c.cs.Close(wire.CloseDisconnect, "enough", transport.Kicked)
				talking := make(chan error, 1)
				go func() { // what it goes on to say changes nothing
					for {
						if _, err := w.Write(frame(fin|opText, `["1","1","room:1","said",{}]`)); err != nil {
							talking <- err
							return
						}
						time.Sleep(100 * time.Millisecond)
					}
				}()
				all, err := io.ReadAll(r)
				if at := time.Since(start); err != nil || at != time.Second {
					t.Errorf("after %v got error %v, want the end of the connection after 1s", at, err)
				}
				if !strings.Contains(string(all), "enough") {
					t.Errorf("got %q, want the reason in it", all)
				}
				if err := <-talking; !errors.Is(err, io.ErrClosedPipe) {
					t.Errorf("writing: got %v, want %v", err, io.ErrClosedPipe)
				}
				wantDeparture(t, c, start, 0, transport.Kicked)
			})
		})
	}
}

func TestAWriteThatBlocksFailsAfterStuckFor(t *testing.T) {
	for limit, want := range map[time.Duration]time.Duration{0: 10 * time.Second, 3 * time.Second: 3 * time.Second} {
		onEach(t, server.Config{Limits: transport.Limits{StuckFor: limit}}, func(t *testing.T, b *bubble, l line, c *client) {
			start := time.Now()
			// More than a window of HTTP/2.
			if err := c.cs.Send(wire.NewPush("room:1", "said", fmt.Appendf(nil, "%q", make([]byte, 100_000)), 0), ""); err != nil {
				t.Fatal(err)
			}
			wantDeparture(t, c, start, want, transport.Slow)
			if err := c.cs.Send(wire.NewPush("room:1", "said", []byte("{}"), 0), ""); !errors.Is(err, transport.ErrClosed) {
				t.Errorf("Send afterwards: got %v, want %v", err, transport.ErrClosed)
			}
		})
	}
}

func TestAFullQueueEndsAMuteConnectionWithinASecond(t *testing.T) {
	onEach(t, server.Config{Limits: transport.Limits{QueueBytes: 100_000}}, func(t *testing.T, b *bubble, l line, c *client) {
		start := time.Now()
		var err error
		for n := 0; err == nil; n++ {
			if n == 100 {
				t.Fatal("100 messages that nobody reads, and Send takes more")
			}
			err = c.cs.Send(wire.NewPush("room:1", "said", fmt.Appendf(nil, "%q", make([]byte, 10_000)), 0), "")
			synctest.Wait() // so that the first is being written
		}
		if !errors.Is(err, transport.ErrSlow) {
			t.Fatalf("got %v, want %v", err, transport.ErrSlow)
		}
		wantDeparture(t, c, start, 0, transport.Slow)
		if b.http2 {
			// The connection may have other streams: only the handler goes.
			if err := b.server.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
		} else {
			inTime(t, b.closed, "end of the connection")
		}
		if at := time.Since(start); at != time.Second {
			t.Errorf("the connection was closed after %v, want 1s", at)
		}
	})
}

func TestABodyThatDawdlesIsNotWaitedFor(t *testing.T) {
	for _, n := range []network{{name: "http1"}, {name: "http2", http2: true}} {
		t.Run(n.name, func(t *testing.T) {
			inBubble(t, n, server.Config{}, nil, func(t *testing.T, b *bubble) {
				es, err := b.half()
				if err != nil {
					t.Fatal(err)
				}
				defer es.Vanish()
				start := time.Now()
				body, dawdling := io.Pipe()
				done := make(chan struct{})
				go func() {
					defer close(done)
					for {
						if _, err := dawdling.Write([]byte(" ")); err != nil {
							return
						}
						time.Sleep(1100 * time.Millisecond) // never when the answer comes: net/http may report that write in its place
					}
				}()
				defer func() { _ = body.Close(); <-done }()
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://example.com/sse", body)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Chime-Secret", es.secret)
				res, err := es.client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				text, err := io.ReadAll(res.Body)
				if err != nil {
					t.Error(err)
				}
				const want = `{"frame":0,"reason":"body could not be read"}` + "\n"
				if at := time.Since(start); res.StatusCode != http.StatusBadRequest || string(text) != want || at != 10*time.Second {
					t.Errorf("after %v got %s %s, want after 10s 400 %s", at, res.Status, text, want)
				}
			})
		})
	}
}

func TestATimeoutOfMiddlewareDoesNotEndAStream(t *testing.T) {
	timeout := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
			defer cancel()
			h.ServeHTTP(w, r.WithContext(ctx))
		})
	}
	for _, n := range []network{{name: "hijacked"}, {name: "without-hijack", http1WithoutHijack: true}, {name: "http2", http2: true}} {
		t.Run(n.name, func(t *testing.T) {
			inBubble(t, n, server.Config{}, timeout, func(t *testing.T, b *bubble) {
				es, err := b.stream("/sse?join=room:1")
				if err != nil {
					t.Fatal(err)
				}
				c := <-b.clients
				start := time.Now()
				wantAt(t, es, start, 15075*time.Millisecond, heartbeat(0)) // after its second bytes
				time.Sleep(9925 * time.Millisecond)
				say(t, c)
				wantAt(t, es, start, 25*time.Second, said)
				if err := c.cs.Context().Err(); err != nil {
					t.Errorf("the context of the client socket is done: %v", err)
				}
				// Its handler can't be told any more when the client goes: a
				// write that fails tells it.
				es.Vanish()
				if d := <-c.closed; d.why != transport.Vanished || d.at.Sub(start) > 40*time.Second {
					t.Errorf("Closed(%s) after %v, want Closed(vanished) with the next heartbeat", d.why, d.at.Sub(start))
				}
			})
		})
	}
}

// The response of a stream that has ended must not wait for a client either.
func TestAHandlerReturnsThoughTheEndOfItsResponseIsNotRead(t *testing.T) {
	inBubble(t, network{http1WithoutHijack: true}, server.Config{}, nil, func(t *testing.T, b *bubble) {
		es, err := b.stream("/sse?join=room:1")
		if err != nil {
			t.Fatal(err)
		}
		defer es.Vanish()
		start := time.Now()
		(<-b.clients).cs.Close(wire.CloseDisconnect, "enough", transport.Kicked)
		if text, err := es.text(); err == nil {
			t.Fatalf("got %s, want the end", text)
		}
		if at := (<-b.closed).Sub(start); at > time.Second {
			t.Errorf("the connection was closed after %v, want at most 1s", at)
		}
	})
}
