package chime_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/go-chime/chime"
)

// The POST half of a stream: whose it is, and that each frame is applied once.

func TestPostNeedsTheSecretOfItsOwnStream(t *testing.T) {
	s := newSite(t)
	w := s.witness(t)
	alice := "Authorization: Bearer alice"
	mallory := "Authorization: Bearer mallory"
	es, secret := s.half(t, alice)
	_, malloryS := s.half(t, mallory)
	_, onWebSocket := s.chime(t, alice)
	const body = `{"first":1,"frames":[` + joinHall + `]}`
	const gone = `{"reason":"no such client socket"}`
	for _, c := range []struct {
		name, secret, owner string
		status              int
		answer              string
	}{
		{"no secret", "", alice, 400, `{"frame":0,"reason":"no Chime-Secret header"}`},
		{"a wrong secret", secret[:len(secret)-1] + "!", alice, 410, gone},
		{"a secret of 100 kB", strings.Repeat("x", 100_000), alice, 410, gone},
		{"the secret of a WebSocket", onWebSocket, alice, 410, gone},
		{"another client's secret", secret, mallory, 403, `{"reason":"this client socket belongs to another identity"}`},
		{"the secret without the identity", secret, "X-Nobody: yes", 403, `{"reason":"this client socket belongs to another identity"}`},
		{"the identity with another one's secret", malloryS, alice, 403, `{"reason":"this client socket belongs to another identity"}`},
		{"an identity that is refused by now", secret, "Authorization: Bearer banned", 401, `{"reason":"banned"}`},
		{"an identity that could not be checked", secret, "Authorization: Bearer database down", 503, `{"reason":"unavailable"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			res := s.post(t, c.secret, body, c.owner)
			if got := res.Header.Get("Content-Type"); got != "application/json" {
				t.Errorf("Content-Type: got %q, want application/json", got)
			}
			wantAnswer(t, res, c.status, c.answer)
			w.isWell()
		})
	}
	wantApplied(t, s.post(t, secret, body, alice), 1) // none of all that was applied
	es.want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
	w.isWell()
	s.hall.wantNobodyLeft(t)
}

func TestMalformedBatchIsRefusedAndNothingIsApplied(t *testing.T) {
	s := newSite(t, chime.WithLimits(chime.Limits{BatchBytes: 2000, BatchMessages: 5, MessageBytes: 500}))
	w := s.witness(t)
	es, secret := s.half(t)
	say := func(n int) string { return `["1","2","hall:1","say",` + strings.Repeat(" ", n) + `{}]` }
	for _, c := range []struct {
		name, body string
		frame      int
		reason     string
	}{
		{"nothing", ``, 0, ""},
		{"no JSON", `first=1`, 0, ""},
		{"an array", `[` + joinHall + `]`, 0, ""},
		{"a string", `"x"`, 0, ""},
		{"null", `null`, 0, "batch has no first, which counts from 1"},
		{"no first", `{"frames":[` + joinHall + `]}`, 0, "batch has no first, which counts from 1"},
		{"first 0", `{"first":0,"frames":[` + joinHall + `]}`, 0, "batch has no first, which counts from 1"},
		{"a negative first", `{"first":-1,"frames":[` + joinHall + `]}`, 0, ""},
		{"a fractional first", `{"first":1.5,"frames":[` + joinHall + `]}`, 0, ""},
		{"a first beyond 64 bits", `{"first":18446744073709551616,"frames":[]}`, 0, ""},
		{"a first that is a string", `{"first":"1","frames":[` + joinHall + `]}`, 0, ""},
		{"frames that are an object", `{"first":1,"frames":{"a":` + joinHall + `}}`, 0, ""},
		{"data after its end", `{"first":1,"frames":[` + joinHall + `]}{}`, 0, ""},
		{"rubbish after its end", `{"first":1,"frames":[` + joinHall + `]}]`, 0, ""},
		{"too many frames", `{"first":1,"frames":[` + joinHall + strings.Repeat(`,[]`, 5) + `]}`, 0, "batch has 6 frames, 5 are allowed"},
		{"a frame that is null", `{"first":1,"frames":[` + joinHall + `,null]}`, 2, "frame is not an array"},
		{"a frame that is too large", `{"first":1,"frames":[` + joinHall + `,` + say(600) + `]}`, 2, fmt.Sprintf("frame has %d bytes, 500 are allowed", len(say(600)))},
		{"nested 900 deep around", strings.Repeat(`[`, 900) + strings.Repeat(`]`, 900), 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantBatchRefused(t, s.post(t, secret, c.body), c.frame, c.reason)
			w.isWell()
		})
	}
	for name, body := range map[string]string{
		"too large":              `{"first":1,"frames":[` + joinHall + `,` + say(400) + `,` + say(400) + `,` + say(400) + `,` + say(700) + `]}`,
		"too large and no JSON":  strings.Repeat("x", 100_000),
		"too large at its end":   `{"first":1,"frames":[` + joinHall + `]}` + strings.Repeat(" ", 2000),
		"too large by one byte":  `{"first":1,"frames":[]}` + strings.Repeat(" ", 2001-len(`{"first":1,"frames":[]}`)),
		"larger than any buffer": strings.Repeat(" ", 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			wantAnswer(t, s.post(t, secret, body), http.StatusRequestEntityTooLarge, `{"reason":"batch is over 2000 bytes"}`)
			w.isWell()
		})
	}
	wantApplied(t, s.post(t, secret, `{"first":1,"frames":[`+joinHall+`]}`), 1)
	es.want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
	s.hall.wantNobodyLeft(t)
}

func TestPostIsAppliedOnceAndWithoutGaps(t *testing.T) {
	s := newSite(t)
	w := s.witness(t)
	es, secret := s.half(t)
	say := func(n int) string { return fmt.Sprintf(`["1",null,"hall:1","say",{"n":%d}]`, n) }
	heard := func(n int) string { return fmt.Sprintf(`[null,null,"hall:1","say",{"n":%d}]`, n) }
	post := func(first int, frames ...string) *answer {
		t.Helper()
		return s.post(t, secret, fmt.Sprintf(`{"first":%d,"frames":[%s]}`, first, strings.Join(frames, ",")))
	}
	wantAnswer(t, post(2, say(2)), http.StatusConflict, `{"want":1}`)
	wantApplied(t, post(1, joinHall), 1)
	es.want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
	wantApplied(t, post(1, joinHall), 1) // repeated: its answer was lost
	wantApplied(t, post(1, joinHall, say(2), say(3)), 3)
	wantApplied(t, post(2, say(2)), 3)
	wantAnswer(t, post(5, say(5)), http.StatusConflict, `{"want":4}`)
	wantAnswer(t, post(1<<62), http.StatusConflict, `{"want":4}`)
	wantApplied(t, post(4), 3)                                        // an ack alone
	es.want(heard(2), heard(3))                                       // which a heartbeat's answer may overtake
	wantApplied(t, post(4, `[null,"9","phoenix","heartbeat",{}]`), 3) // is not counted
	es.want(`[null,"9","phoenix","phx_reply",{"status":"ok","response":{}}]`)
	wantApplied(t, post(4, `[null,null,"chime","ack",{}]`, say(4)), 4) // nor this
	wantApplied(t, post(3, say(99), say(99), say(5), say(6)), 6)       // what overlaps is skipped, whatever is in it
	for n := 2; n <= 6; n++ {
		w.hears(heard(n))
	}
	w.isWell()
	es.want(heard(4), heard(5), heard(6), tick(1))
}

func TestPostsAtOnceAreAppliedOnceInOrder(t *testing.T) {
	s := newSite(t)
	w := s.witness(t)
	es, secret := s.half(t)
	wantApplied(t, s.post(t, secret, `{"first":1,"frames":[`+joinHall+`]}`), 1)
	es.want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
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
		answers := make([]*answer, copies)
		var posts sync.WaitGroup
		for i := range copies {
			conn := s.connect(t)
			posts.Go(func() {
				answers[i] = s.requestOn(t, conn, http.MethodPost, "/socket/sse", body.String(), "Chime-Secret: "+secret)
			})
		}
		posts.Wait()
		for _, res := range answers {
			wantApplied(t, res, 1+(round+1)*size)
		}
	}
	for n := range rounds * size {
		frame := fmt.Sprintf(`[null,null,"hall:1","say",{"n":%d}]`, n)
		w.hears(frame)
		es.want(frame)
	}
	w.isWell()
}

func TestPostToAClosedSocketIsGone(t *testing.T) {
	s := newSite(t)
	w := s.witness(t)
	const gone = `{"reason":"no such client socket"}`
	const body = `{"first":2,"frames":[["1","2","hall:1","say",{}]]}`
	for name, end := range map[string]func(es *rawStream, secret string){
		"by a cut": func(es *rawStream, _ string) { _ = es.conn.Close() },
		"by a goodbye": func(es *rawStream, secret string) {
			wantAnswer(t, s.request(t, http.MethodPost, "/socket/bye", secret), http.StatusNoContent, "")
			es.wantClosed(1000, "bye")
		},
		"by Disconnect": func(es *rawStream, _ string) {
			if err := s.live.Disconnect(t.Context(), "alice"); err != nil {
				t.Error(err)
			}
			es.wantClosed(1001, "disconnected")
		},
	} {
		t.Run(name, func(t *testing.T) {
			const alice = "Authorization: Bearer alice"
			es, secret := s.half(t, alice)
			wantApplied(t, s.post(t, secret, `{"first":1,"frames":[`+joinHall+`]}`, alice), 1)
			es.want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
			end(es, secret)
			<-s.hall.left
			wantAnswer(t, s.post(t, secret, body, alice), http.StatusGone, gone)
			wantAnswer(t, s.request(t, http.MethodPost, "/socket/bye", secret), http.StatusNoContent, "")
			w.isWell()
		})
	}
	s.hall.wantNobodyLeft(t)
}

func TestGoodbyeTellsNothingAndDoesNothingElse(t *testing.T) {
	s := newSite(t)
	w := s.witness(t)
	for name, body := range map[string]string{
		"no secret":         "",
		"a wrong secret":    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"1 MB":              strings.Repeat("x", 1<<20),
		"JSON":              `{"first":1,"frames":[` + joinHall + `]}`,
		"the id of someone": s.live.Members("hall:1")[0].ID,
	} {
		t.Run(name, func(t *testing.T) {
			wantAnswer(t, s.request(t, http.MethodPost, "/socket/bye", body, "Content-Type: text/plain;charset=UTF-8"), http.StatusNoContent, "")
			w.isWell()
		})
	}
	ws, secret := s.chime(t)
	ws.join("hall:1", "guest")
	wantAnswer(t, s.request(t, http.MethodPost, "/socket/bye", " "+secret+"\n"), http.StatusNoContent, "")
	ws.wantClose(1000, "bye")
	s.hall.wantLeft(t, departure{"hall:1", "guest", "closed"})
	w.isWell()
	s.hall.wantNobodyLeft(t)
}
