package hostile_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/internal/raw"
)

// The POST half of a stream: whose it is, and that each frame is applied once.

func TestPostNeedsTheSecretOfItsOwnStream(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
	alice := "Authorization: Bearer alice"
	mallory := "Authorization: Bearer mallory"
	es, secret := s.Half(t, alice)
	_, malloryS := s.Half(t, mallory)
	_, onWebSocket := s.Chime(t, alice)
	const body = `{"first":1,"frames":[` + raw.JoinHall + `]}`
	const unknown = `{"reason":"no such client socket"}`
	for _, c := range []struct {
		name, secret, owner string
		status              int
		answer              string
	}{
		{"no secret", "", alice, 400, `{"frame":0,"reason":"no Chime-Secret header"}`},
		{"a wrong secret", secret[:len(secret)-1] + "!", alice, 410, unknown},
		{"a secret of 100 kB", strings.Repeat("x", 100_000), alice, 410, unknown},
		{"the secret of a WebSocket", onWebSocket, alice, 410, unknown},
		{"another client's secret", secret, mallory, 403, `{"reason":"this client socket belongs to another identity"}`},
		{"the secret without the identity", secret, "X-Nobody: yes", 403, `{"reason":"this client socket belongs to another identity"}`},
		{"the identity with another one's secret", malloryS, alice, 403, `{"reason":"this client socket belongs to another identity"}`},
		{"an identity that is refused by now", secret, "Authorization: Bearer banned", 401, `{"reason":"banned"}`},
		{"an identity that could not be checked", secret, "Authorization: Bearer database down", 503, `{"reason":"unavailable"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			res := s.Post(t, c.secret, body, c.owner)
			if got := res.Header.Get("Content-Type"); got != "application/json" {
				t.Errorf("Content-Type: got %q, want application/json", got)
			}
			res.Want(t, c.status, c.answer)
			w.IsWell()
		})
	}
	s.Post(t, secret, body, alice).WantApplied(t, 1) // none of all that was applied
	es.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
	w.IsWell()
	s.Hall.WantNobodyLeft(t)
}

func TestMalformedBatchIsRefusedAndNothingIsApplied(t *testing.T) {
	s := raw.NewSite(t, chime.WithLimits(chime.Limits{BatchBytes: 2000, BatchMessages: 5, MessageBytes: 500}))
	w := s.Witness(t)
	es, secret := s.Half(t)
	say := func(n int) string { return `["1","2","hall:1","say",` + strings.Repeat(" ", n) + `{}]` }
	for _, c := range []struct {
		name, body string
		frame      int
		reason     string
	}{
		{"nothing", ``, 0, ""},
		{"no JSON", `first=1`, 0, ""},
		{"an array", `[` + raw.JoinHall + `]`, 0, ""},
		{"a string", `"x"`, 0, ""},
		{"null", `null`, 0, ""},
		{"no first", `{"frames":[` + raw.JoinHall + `]}`, 0, "batch has no first: want a number from 1"},
		{"first 0", `{"first":0,"frames":[` + raw.JoinHall + `]}`, 0, "batch has no first: want a number from 1"},
		{"a negative first", `{"first":-1,"frames":[` + raw.JoinHall + `]}`, 0, ""},
		{"a fractional first", `{"first":1.5,"frames":[` + raw.JoinHall + `]}`, 0, ""},
		{"a first beyond 64 bits", `{"first":18446744073709551616,"frames":[]}`, 0, ""},
		{"a first that is a string", `{"first":"1","frames":[` + raw.JoinHall + `]}`, 0, ""},
		{"frames that are an object", `{"first":1,"frames":{"a":` + raw.JoinHall + `}}`, 0, ""},
		{"data after its end", `{"first":1,"frames":[` + raw.JoinHall + `]}{}`, 0, ""},
		{"rubbish after its end", `{"first":1,"frames":[` + raw.JoinHall + `]}]`, 0, ""},
		{"too many frames", `{"first":1,"frames":[` + raw.JoinHall + strings.Repeat(`,`+raw.JoinHall, 4) + `,0,x`, 0, "batch has too many frames: want at most 5"},
		{"a frame that is none, and much behind it", `{"first":1,"frames":[` + strings.Repeat("0,", 800), 1, "frame is not an array"},
		{"a frame that is null", `{"first":1,"frames":[` + raw.JoinHall + `,null]}`, 2, "frame is not an array"},
		{"a frame that is too large", `{"first":1,"frames":[` + raw.JoinHall + `,` + say(600) + `]}`, 2, fmt.Sprintf("frame has %d bytes: want at most 500", len(say(600)))},
		{"nested 900 deep around", strings.Repeat(`[`, 900) + strings.Repeat(`]`, 900), 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.Post(t, secret, c.body).WantBatchRefused(t, c.frame, c.reason)
			w.IsWell()
		})
	}
	for name, body := range map[string]string{
		"too large":              `{"first":1,"frames":[` + raw.JoinHall + `,` + say(400) + `,` + say(400) + `,` + say(400) + `,` + say(700) + `]}`,
		"too large and no JSON":  strings.Repeat("x", 100_000),
		"too large at its end":   `{"first":1,"frames":[` + raw.JoinHall + `]}` + strings.Repeat(" ", 2000),
		"too large by one byte":  `{"first":1,"frames":[]}` + strings.Repeat(" ", 2001-len(`{"first":1,"frames":[]}`)),
		"larger than any buffer": strings.Repeat(" ", 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			s.Post(t, secret, body).Want(t, http.StatusRequestEntityTooLarge, `{"reason":"batch is over 2000 bytes"}`)
			w.IsWell()
		})
	}
	s.Post(t, secret, `{"first":1,"frames":[`+raw.JoinHall+`]}`).WantApplied(t, 1)
	es.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
	s.Hall.WantNobodyLeft(t)
}

func TestPostIsAppliedOnceAndWithoutGaps(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
	es, secret := s.Half(t)
	say := func(n int) string { return fmt.Sprintf(`["1",null,"hall:1","say",{"n":%d}]`, n) }
	heard := func(n int) string { return fmt.Sprintf(`[null,null,"hall:1","say",{"n":%d}]`, n) }
	post := func(first int, frames ...string) *raw.Answer {
		t.Helper()
		return s.Post(t, secret, fmt.Sprintf(`{"first":%d,"frames":[%s]}`, first, strings.Join(frames, ",")))
	}
	post(2, say(2)).Want(t, http.StatusConflict, `{"want":1}`)
	post(1, raw.JoinHall).WantApplied(t, 1)
	es.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
	post(1, raw.JoinHall).WantApplied(t, 1) // repeated: its answer was lost
	post(1, raw.JoinHall, say(2), say(3)).WantApplied(t, 3)
	post(2, say(2)).WantApplied(t, 3)
	post(5, say(5)).Want(t, http.StatusConflict, `{"want":4}`)
	post(1<<62).Want(t, http.StatusConflict, `{"want":4}`)
	post(4).WantApplied(t, 3)                                        // an ack alone
	es.Want(heard(2), heard(3))                                      // which a heartbeat's answer may overtake
	post(4, `[null,"9","phoenix","heartbeat",{}]`).WantApplied(t, 3) // is not counted
	es.Want(`[null,"9","phoenix","phx_reply",{"status":"ok","response":{}}]`)
	post(4, `[null,null,"chime","ack",{}]`, say(4)).WantApplied(t, 4) // nor this
	post(3, say(99), say(99), say(5), say(6)).WantApplied(t, 6)       // what overlaps is skipped, whatever is in it
	for n := 2; n <= 6; n++ {
		w.Hears(heard(n))
	}
	w.IsWell()
	es.Want(heard(4), heard(5), heard(6), raw.Tick(1))
}

func TestPostsAtOnceAreAppliedOnceInOrder(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
	es, secret := s.Half(t)
	s.Post(t, secret, `{"first":1,"frames":[`+raw.JoinHall+`]}`).WantApplied(t, 1)
	es.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
	const rounds, size, copies = 10, 20, 4
	for round := range rounds {
		var body strings.Builder
		fmt.Fprintf(&body, `{"first":%d,"frames":[`, 2+round*size)
		for i := range size {
			if i > 0 {
				body.WriteByte(',')
			}
			fmt.Fprintf(&body, `["1",null,"hall:1","say",{"n":%d}]`, round*size+i)
		}
		body.WriteString(`]}`)
		answers := make([]*raw.Answer, copies)
		var posts sync.WaitGroup
		for i := range copies {
			conn := s.Connect(t)
			posts.Go(func() {
				answers[i] = s.RequestOn(t, conn, http.MethodPost, "/socket/sse", body.String(), "Chime-Secret: "+secret)
			})
		}
		posts.Wait()
		taken := 0
		for _, res := range answers {
			if res.StatusCode == http.StatusTooManyRequests {
				if got := res.Header.Get("Retry-After"); got != "1" {
					t.Errorf("Retry-After: got %q, want 1", got)
				}
				res.Want(t, http.StatusTooManyRequests, `{"reason":"another POST of this client is under way"}`)
				continue
			}
			taken++
			res.WantApplied(t, 1+(round+1)*size)
		}
		if taken == 0 {
			t.Fatal("of POSTs at once none was taken")
		}
	}
	for n := range rounds * size {
		frame := fmt.Sprintf(`[null,null,"hall:1","say",{"n":%d}]`, n)
		w.Hears(frame)
		es.Want(frame)
	}
	w.IsWell()
}

func TestPostToAClosedSocketIsGone(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
	const unknown = `{"reason":"no such client socket"}`
	const body = `{"first":2,"frames":[["1","2","hall:1","say",{}]]}`
	for name, end := range map[string]func(es *raw.Stream, secret string){
		"by a cut": func(es *raw.Stream, _ string) { _ = es.Conn.Close() },
		"by a goodbye": func(es *raw.Stream, secret string) {
			s.Request(t, http.MethodPost, "/socket/bye", secret).Want(t, http.StatusNoContent, "")
			es.WantClosed(1000, "bye")
		},
		"by Disconnect": func(es *raw.Stream, _ string) {
			if err := s.Live.Disconnect(t.Context(), "alice"); err != nil {
				t.Error(err)
			}
			es.WantClosed(1001, "disconnected")
		},
	} {
		t.Run(name, func(t *testing.T) {
			const alice = "Authorization: Bearer alice"
			es, secret := s.Half(t, alice)
			s.Post(t, secret, `{"first":1,"frames":[`+raw.JoinHall+`]}`, alice).WantApplied(t, 1)
			es.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
			end(es, secret)
			<-s.Hall.Left
			s.Post(t, secret, body, alice).Want(t, http.StatusGone, unknown)
			s.Request(t, http.MethodPost, "/socket/bye", secret).Want(t, http.StatusNoContent, "")
			w.IsWell()
		})
	}
	s.Hall.WantNobodyLeft(t)
}

func TestGoodbyeTellsNothingAndDoesNothingElse(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
	for name, body := range map[string]string{
		"no secret":         "",
		"a wrong secret":    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"1 MB":              strings.Repeat("x", 1<<20),
		"JSON":              `{"first":1,"frames":[` + raw.JoinHall + `]}`,
		"the id of someone": s.Members(t, "hall:1")[0].ID,
	} {
		t.Run(name, func(t *testing.T) {
			s.Request(t, http.MethodPost, "/socket/bye", body, "Content-Type: text/plain;charset=UTF-8").Want(t, http.StatusNoContent, "")
			w.IsWell()
		})
	}
	ws, secret := s.Chime(t)
	ws.Join("hall:1", "guest")
	s.Request(t, http.MethodPost, "/socket/bye", " "+secret+"\n").Want(t, http.StatusNoContent, "")
	ws.WantClose(1000, "bye")
	s.Hall.WantLeft(t, "hall:1", "guest", "closed")
	w.IsWell()
	s.Hall.WantNobodyLeft(t)
}
