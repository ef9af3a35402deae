package mount_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/internal/raw"
)

// Where no write can be tried without waiting, as on HTTP/2 and with TLS, publishers wait
// for those who read as they do elsewhere, and end none of them.
func TestPublishersDoNotRunAheadOfReadersOnHTTP2(t *testing.T) {
	const readers, messages, size = 5, 300, 20_000
	limits := chime.WithLimits(chime.Limits{QueueBytes: messages * size / 10})
	raw.InBubble(t, &http.Server{Protocols: overHTTP2()}, []chime.Option{limits}, func(t *testing.T, s *raw.Site) {
		c := httpClient(t, s)
		read := make(chan int, readers)
		for range readers {
			es := readHTTP2(t, s, t.Context(), c, "/socket/sse?join=hall:1&as=reader")
			es.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
			go func() {
				n := 0
				for line, err := es.R.ReadSlice('\n'); n < messages; line, err = es.R.ReadSlice('\n') {
					if err != nil && len(line) == 0 {
						break
					}
					if strings.HasPrefix(string(line), `data: [null,null,"hall:1","say"`) {
						n++
					}
				}
				read <- n
			}()
		}
		payload := map[string]string{"a": strings.Repeat("x", size)}
		for range messages {
			if err := s.Live.Broadcast(t.Context(), "hall:1", "say", payload); err != nil {
				t.Fatal(err)
			}
		}
		for range readers {
			if n := <-read; n != messages {
				t.Errorf("a reader got %d of %d messages", n, messages)
			}
		}
	})
}
