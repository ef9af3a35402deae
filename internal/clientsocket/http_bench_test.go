//go:build linux

package clientsocket_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"testing"

	"github.com/go-chime/chime/internal/wire"
)

// BenchmarkDeliverHTTP is all of a delivery to clients that have no WebSocket, from Send
// until they have read: so many messages at one time, which go out as one write or one
// reply. An op is one message for one client; cpu-ns/delivery and the allocations are
// those of the server's process. A client that polls does so again when it has read a
// reply, on a connection that is kept.
func BenchmarkDeliverHTTP(b *testing.B) {
	const clients = 1000
	for _, kind := range []string{"stream", "poll", "longpoll"} {
		for _, messages := range []int{1, 16} {
			b.Run(fmt.Sprintf("%s/messages=%d", kind, messages), func(b *testing.B) {
				crowd := gather(b, kind, clients)
				b.ReportAllocs()
				b.ResetTimer()
				begun := spent(b, syscall.RUSAGE_SELF)
				for sent := 0; sent < b.N; {
					for range messages {
						m := benchMessage()
						for _, c := range crowd.clients[:min(clients, b.N-sent)] {
							if err := c.Send(m, ""); err != nil {
								b.Fatal(err)
							}
							sent++
						}
					}
					crowd.sent = int64(sent)
					crowd.settle()
					if kind == "stream" { // the next poll acknowledges
						for _, c := range crowd.clients {
							c.AcknowledgeAll()
						}
					}
				}
				b.StopTimer()
				b.ReportMetric(float64((spent(b, syscall.RUSAGE_SELF)-begun).Nanoseconds())/float64(b.N), "cpu-ns/delivery")
			})
		}
	}
}

// httpReader is a client that reads without a WebSocket, in the process of the clients.
type httpReader struct {
	conn    io.Writer
	answers *bufio.Reader
	got     func(messages int) // called with how many have come
}

func (h *httpReader) get(path string, header ...any) *http.Response {
	if len(header) > 0 {
		header = append(header, "\r\n")
	}
	if _, err := fmt.Fprint(h.conn, "GET "+path+" HTTP/1.1\r\nHost: x\r\n", fmt.Sprint(header...), "\r\n"); err != nil {
		panic(err)
	}
	res, err := http.ReadResponse(h.answers, nil)
	if err != nil {
		panic(err)
	}
	return res
}

// stream opens one, and reads until it ends.
func (h *httpReader) stream(opened func()) {
	res := h.get("/sse", "Chime-Received: 0")
	defer res.Body.Close()
	opened()
	for lines := bufio.NewReader(res.Body); ; {
		line, err := lines.ReadSlice('\n')
		if err != nil {
			return
		}
		h.got(bytes.Count(line, []byte(`"message_new"`)))
	}
}

// answer reads that of a poll.
func (h *httpReader) answer(res *http.Response, into any) {
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(into); err != nil {
		panic(err)
	}
	_, _ = io.Copy(io.Discard, res.Body) // to the end
}

// poll opens a client socket, and polls for ever.
func (h *httpReader) poll(opened func()) {
	var hello struct{ Secret string }
	for received, header := 0, ""; ; {
		var reply struct{ Frames [][5]json.RawMessage }
		h.answer(h.get("/poll", header, "Chime-Received: ", received), &reply) //nolint:bodyclose // answer does
		counted := 0
		for _, f := range reply.Frames {
			if wire.Counted(string(bytes.Trim(f[2], `"`))) {
				counted++
			} else if header == "" {
				if err := json.Unmarshal(f[4], &hello); err != nil {
					panic(err)
				}
				header = "Chime-Secret: " + hello.Secret + "\r\n"
				opened()
			}
		}
		received += counted
		h.got(counted)
	}
}

// longPoll is poll in Phoenix's dialect.
func (h *httpReader) longPoll(opened func()) {
	for token := ""; ; {
		var reply struct {
			Token    string
			Messages []string
		}
		h.answer(h.get("/longpoll?vsn=2.0.0&token="+token), &reply) //nolint:bodyclose // answer does
		if token == "" {
			opened()
		}
		token = reply.Token
		h.got(len(reply.Messages))
	}
}
