package hostile_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/internal/raw"
)

// POSTs that bring more than a client may send. In a bubble the bytes are exact: ten
// seconds' worth, and then the rate.

const postedBytes = 1000 // of each body

// padded is a batch of postedBytes, or of no batch.
func padded(first int, frame string) string {
	body := fmt.Sprintf(`{"first":%d,"frames":[%s`, first, frame)
	return body + strings.Repeat(" ", postedBytes-len(body)-2) + "]}"
}

const tooManyBytes = `{"reason":"too many bytes"}`

// A client that does as it is told loses nothing, and pays for what it sends once.
func TestAPostIsPaidForBeforeItIsRead(t *testing.T) {
	limits := chime.WithLimits(chime.Limits{BytesPerSecond: postedBytes / 2, MessageBytes: 400, BatchBytes: postedBytes})
	raw.InBubble(t, &http.Server{}, []chime.Option{limits}, func(t *testing.T, s *raw.Site) {
		w := s.Witness(t)
		es, secret := s.Half(t)
		post := func(body string, header ...string) *raw.Answer {
			t.Helper()
			return s.Post(t, secret, body, append(header, "Connection: close")...)
		}
		say := func(n int) string { return fmt.Sprintf(`["1",null,"hall:1","say",{"n":%d}]`, n) }
		post(padded(1, raw.JoinHall)).WantApplied(t, 1)
		es.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
		for n := 2; n <= 5; n++ {
			post(padded(n, say(n))).WantApplied(t, n)
		}
		for range 3 { // each of them announces a body, and sends none: nobody has asked for it
			res := s.Raw(t, fmt.Sprintf("POST /socket/sse HTTP/1.1\r\nHost: %s\r\nChime-Secret: %s\r\nContent-Length: %d\r\n\r\n", s.Host, secret, postedBytes))
			res.Want(t, http.StatusTooManyRequests, tooManyBytes)
			if got := res.Header.Get("Retry-After"); got != "2" {
				t.Errorf("Retry-After: got %q, want 2", got)
			}
		}
		chunked := "POST /socket/sse HTTP/1.1\r\nHost: %s\r\nChime-Secret: %s\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n%s"
		s.Raw(t, fmt.Sprintf(chunked, s.Host, secret, "")).Want(t, http.StatusTooManyRequests, tooManyBytes)
		for n := 6; n <= 8; n++ {
			time.Sleep(2 * time.Second)
			post(padded(n, say(n))).WantApplied(t, n)
		}
		time.Sleep(2 * time.Second)
		for n := 9; n <= 13; n++ { // a body of unknown length pays for what came of it, not for what may come
			body := fmt.Sprintf(`{"first":%d,"frames":[%s]}`, n, say(n))
			s.Raw(t, fmt.Sprintf(chunked, s.Host, secret, fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body))).WantApplied(t, n)
			time.Sleep(time.Second / 4) // which pays for 125 bytes
		}
		for n := 2; n <= 13; n++ {
			w.Hears(fmt.Sprintf(`[null,null,"hall:1","say",{"n":%d}]`, n))
			es.Want(fmt.Sprintf(`[null,null,"hall:1","say",{"n":%d}]`, n))
		}
		w.IsWell()
		if got, floods := refusals(s.Live, "frame_rate"), refusals(s.Live, "flood"); got != 4 || floods != 0 {
			t.Errorf("got %d by frame_rate and %d floods, want 4 and none", got, floods)
		}
	})
}

// What was announced and has not come is not paid for.
func TestABodyThatDoesNotComeIsNotPaidFor(t *testing.T) {
	limits := chime.WithLimits(chime.Limits{BytesPerSecond: 1, MessageBytes: 400, BatchBytes: postedBytes})
	raw.InBubble(t, &http.Server{}, []chime.Option{limits}, func(t *testing.T, s *raw.Site) {
		_, secret := s.Half(t)
		for range 4 {
			conn := s.Connect(t)
			if _, err := fmt.Fprintf(conn, "POST /socket/sse HTTP/1.1\r\nHost: %s\r\nChime-Secret: %s\r\nContent-Length: %d\r\n\r\n{", s.Host, secret, postedBytes); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			_ = conn.Close()
			synctest.Wait()
		}
		s.Post(t, secret, padded(1, raw.JoinHall), "Connection: close").WantApplied(t, 1)
	})
}

// floods are bodies that hand nothing on, each with how many of them make a client end that
// may send 20 frames a second. What is no batch counts as two.
var floods = map[string]struct {
	many int
	body string
}{
	"no batch":          {201, "0"},
	"too large":         {201, strings.Repeat(" ", postedBytes+1)},
	"nothing in it":     {401, `{"first":1,"frames":[]}`},
	"a gap":             {401, `{"first":9,"frames":[]}`},
	"more than is sent": {401, `{"first":1,"received":9,"frames":[]}`},
	"too many bytes":    {401, padded(1, "")},
}

func TestWhoGoesOnWithPostsThatBringNothingIsEnded(t *testing.T) {
	limits := chime.WithLimits(chime.Limits{FramesPerSecond: 20, BytesPerSecond: 2000, MessageBytes: 400, BatchBytes: postedBytes})
	for name, flood := range floods {
		t.Run(name, func(t *testing.T) {
			raw.InBubble(t, &http.Server{}, []chime.Option{limits}, func(t *testing.T, s *raw.Site) {
				w := s.Witness(t)
				es, secret := s.Half(t)
				post := func() *raw.Answer { return s.Post(t, secret, flood.body, "Connection: close") }
				for n := range flood.many {
					if res := post(); res.StatusCode == http.StatusGone {
						t.Fatalf("ended after %d, want %d", n, flood.many)
					}
				}
				es.WantClosed(1008, "rate limited")
				if res := post(); res.StatusCode != http.StatusGone {
					t.Errorf("after the end: got %s, want 410", res.Status)
				}
				w.IsWell()
			})
		})
	}
}

// floodOfPolls are the headers of polls that bring nothing.
var floodOfPolls = map[string]struct{ received, hold string }{
	"do not wait":                  {"2", "0"},
	"are given the same once more": {"0", ""},
}

func TestWhoGoesOnWithPollsThatBringNothingIsEnded(t *testing.T) {
	for name, flood := range floodOfPolls {
		t.Run(name, func(t *testing.T) {
			raw.InBubble(t, &http.Server{}, []chime.Option{chime.WithLimits(chime.Limits{FramesPerSecond: 20})}, func(t *testing.T, s *raw.Site) {
				w := s.Witness(t)
				p := s.Poll(t)
				p.Post(`{"first":1,"frames":[`+raw.JoinHall+`]}`).WantApplied(t, 1)
				p.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
				p.Post(`{"first":2,"frames":[["1",null,"hall:1","say",{}]]}`).WantApplied(t, 2)
				p.Want(`[null,null,"hall:1","say",{}]`)
				w.Hears(`[null,null,"hall:1","say",{}]`)
				header := []string{"Connection: close", "Chime-Secret: " + p.Secret, "Chime-Received: " + flood.received}
				if flood.hold != "" {
					header = append(header, "Chime-Hold: "+flood.hold)
				}
				for n := 2; n <= 400; n++ { // two frames have come
					if res := s.Request(t, http.MethodGet, "/socket/poll", "", header...); res.StatusCode != http.StatusOK {
						t.Fatalf("poll %d: got %s, want 200", n, res.Status)
					}
				}
				s.Request(t, http.MethodGet, "/socket/poll", "", header...)
				s.Hall.WantLeft(t, "hall:1", "attacker", "closed")
				w.IsWell()
			})
		})
	}
}
