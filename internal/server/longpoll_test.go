package server_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/internal/server"
	"github.com/go-chime/chime/transport"
)

// asPhoenix sends a request of Phoenix's long-poll, and returns the status and the token in
// its answer.
func asPhoenix(t *testing.T, h *hall, method, token string, body io.Reader) (status int, next string) {
	t.Helper()
	r := httptest.NewRequest(method, "/longpoll?vsn=2.0.0&token="+url.QueryEscape(token), body)
	r.Header.Set("Content-Type", "application/x-ndjson")
	w := httptest.NewRecorder()
	if method == http.MethodGet {
		h.server.ServeLongPoll(w, r)
	} else {
		h.server.ServeLongPollPost(w, r)
	}
	var got struct {
		Status int
		Token  string
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatalf("%s: %v", w.Body, err)
	}
	return got.Status, got.Token
}

// What is beyond the lines that are taken costs no more than its bytes.
func TestLinesWithoutEndOfAPhoenixPollCostLittle(t *testing.T) {
	inHall(t, server.Config{}, func(t *testing.T, h *hall) {
		_, token := asPhoenix(t, h, http.MethodGet, "", nil)
		lines := strings.Repeat("\n", 256<<10)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		status, _ := asPhoenix(t, h, http.MethodPost, token, strings.NewReader(lines))
		runtime.ReadMemStats(&after)
		if cost := after.TotalAlloc - before.TotalAlloc; status != 200 || cost > 12*uint64(len(lines)) {
			t.Errorf("got %d, and %d bytes were allocated for %d, want 200 and at most 12 times as many", status, cost, len(lines))
		}
	})
}

// A POST pays for its body, and its frames not again: a client that waits loses nothing.
func TestAPostOfPhoenixIsPaidForOnce(t *testing.T) {
	limits := transport.Limits{BytesPerSecond: 100, MessageBytes: 400, BatchBytes: 1000}
	inHall(t, server.Config{Limits: limits}, func(t *testing.T, h *hall) {
		_, token := asPhoenix(t, h, http.MethodGet, "", nil)
		body := `[null,"1","phoenix","heartbeat",{"a":"` + strings.Repeat("x", 359) + `"}]`
		for n := range 5 {
			if status, _ := asPhoenix(t, h, http.MethodPost, token, strings.NewReader(body)); status != 200 {
				t.Fatalf("POST %d of 400 bytes: got %d, want 200", n, status)
			}
		}
		if status, _ := asPhoenix(t, h, http.MethodPost, token, strings.NewReader(body)); status != 500 {
			t.Errorf("beyond: got %d, want 500", status)
		}
		time.Sleep(4 * time.Second)
		if status, _ := asPhoenix(t, h, http.MethodPost, token, strings.NewReader(body)); status != 200 {
			t.Errorf("4 s later: got %d, want 200", status)
		}
	})
}

// Of two POSTs of one client the later one goes on, as on the other transports.
func TestAClientOfPhoenixHasOnePostUnderWay(t *testing.T) {
	inHall(t, server.Config{}, func(t *testing.T, h *hall) {
		_, token := asPhoenix(t, h, http.MethodGet, "", nil)
		body, slow := io.Pipe()
		first := make(chan int, 1)
		go func() {
			status, _ := asPhoenix(t, h, http.MethodPost, token, body)
			first <- status
		}()
		if _, err := slow.Write([]byte("\n")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if status, _ := asPhoenix(t, h, http.MethodPost, token, strings.NewReader("\n")); status != 500 {
			t.Errorf("a POST beside one that can't be cut: got %d, want 500", status)
		}
		_ = slow.Close()
		if status := <-first; status != 200 {
			t.Errorf("the one under way: got %d, want 200", status)
		}
	})
}

// A secret is good in its own dialect only.
func TestTheSecretOfAPollIsGoodInItsDialect(t *testing.T) {
	inHall(t, server.Config{}, func(t *testing.T, h *hall) {
		p, _ := poller(t, h)
		if status, _ := asPhoenix(t, h, http.MethodGet, p.secret+".0", nil); status != 500 {
			t.Errorf("a secret of the chime dialect: got %d, want 500", status)
		}
		_, token := asPhoenix(t, h, http.MethodGet, "", nil)
		secret, _, _ := strings.Cut(token, ".")
		r := httptest.NewRequest(http.MethodGet, "/poll", nil)
		r.Header.Set("Chime-Received", "0")
		r.Header.Set("Chime-Secret", secret)
		w := httptest.NewRecorder()
		if h.server.ServePoll(w, r); w.Code != http.StatusGone {
			t.Errorf("a secret of Phoenix: got %d, want 410", w.Code)
		}
	})
}
