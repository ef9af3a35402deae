package transporttest_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chime/chime/internal/leak"
	"github.com/go-chime/chime/transport/transporttest"
)

func TestMain(m *testing.M) { leak.Main(m) }

// passing are three parts of a stream, one a second, as they leave the server.
var passing = []event{{"0", 0}, {"1", time.Second}, {"2", 2 * time.Second}}

const threeParts = "parts=3&every=1s"

func TestDropsUpgrade(t *testing.T) {
	inBubble(t, "drops-upgrade", func(r *rig) {
		r.wantNoUpgrade()
		r.wantEvents(threeParts, 0, passing...)
	})
}

func TestRefusesUpgrade(t *testing.T) {
	inBubble(t, "refuses-upgrade", func(r *rig) {
		for _, want := range []int{407, 403, 200, 407} {
			if s := r.upgrade(); s.status != want || !strings.Contains(s.page, "<title>") {
				r.Errorf("got %d %q, want %d and a page", s.status, s.page, want)
			}
		}
		r.wantEvents(threeParts, 0, passing...)
	})
}

func TestDeafWebSocket(t *testing.T) {
	inBubble(t, "deaf-websocket", func(r *rig) {
		s := r.upgrade()
		s.say("hello")
		if lines, ended := s.hears(time.Hour); s.status != 101 || lines != "" || ended {
			r.Errorf("got %d, %q and an end %t, want an open WebSocket on which nothing comes", s.status, lines, ended)
		}
		r.wantEvents(threeParts, 0, passing...)
	})
}

func TestMuteWebSocket(t *testing.T) {
	inBubble(t, "mute-websocket", func(r *rig) {
		s := r.upgrade()
		s.say("anybody there?")
		if lines, ended := s.hears(time.Hour); s.status != 101 || lines != "hello;" || ended {
			r.Errorf("got %d, %q and an end %t, want an open WebSocket on which hello comes and no more", s.status, lines, ended)
		}
	})
}

func TestCutsYoungWebSocket(t *testing.T) {
	inBubble(t, "cuts-young-websocket", func(r *rig) {
		for range 20 {
			start := time.Now()
			s := r.upgrade()
			s.say("me")
			lines, ended := s.hears(time.Minute)
			if age := time.Since(start); !ended || lines != "hello;heard me;" || age < 100*time.Millisecond || age > 500*time.Millisecond {
				r.Errorf("got %q and an end %t after %v, want one within 100 to 500 ms", lines, ended, age)
			}
		}
	})
}

func TestHoldsBlocks(t *testing.T) {
	inBubble(t, "holds-blocks", func(r *rig) {
		r.wantNoUpgrade()
		// The second part fills a block; the rest comes with the end.
		r.wantEvents("parts=4&every=1s&size=3000", 0, event{"0", time.Second}, event{"1", 2 * time.Second}, event{"2", 4 * time.Second}, event{"3", 4 * time.Second})
		if status, body := r.post("x"); status != 200 || body != "post 1" {
			r.Errorf("POST: got %d %q", status, body)
		}
	})
}

func TestHoldsToEnd(t *testing.T) {
	inBubble(t, "holds-to-end", func(r *rig) {
		r.wantNoUpgrade()
		end := 3 * time.Second
		r.wantEvents(threeParts, end, event{"0", end}, event{"1", end}, event{"2", end})
	})
}

func TestHoldsFirstChunk(t *testing.T) {
	inBubble(t, "holds-first-chunk", func(r *rig) {
		if lines, ended := r.upgrade().hears(time.Hour); lines != "" || ended {
			r.Errorf("WebSocket: got %q and an end %t, want silence", lines, ended)
		}
		r.wantEvents(threeParts, 0, event{"0", time.Second}, event{"1", time.Second}, event{"2", 2 * time.Second})
	})
}

func TestHoldsAfterFirst(t *testing.T) {
	inBubble(t, "holds-after-first", func(r *rig) {
		r.wantNoUpgrade()
		r.wantEvents(threeParts, 0, event{"0", 0}, event{"1", 3 * time.Second}, event{"2", 3 * time.Second})
	})
}

func TestDelaysStreams(t *testing.T) {
	inBubble(t, "delays-streams", func(r *rig) {
		r.wantNoUpgrade()
		r.wantEvents(threeParts, 0, event{"0", 20 * time.Second}, event{"1", 21 * time.Second}, event{"2", 22 * time.Second})
		start := time.Now()
		if status, body := r.post("x"); status != 200 || body != "post 1" || time.Since(start) > 0 {
			r.Errorf("POST: got %d %q after %v, want it at once", status, body, time.Since(start))
		}
	})
}

func TestGzips(t *testing.T) {
	inBubble(t, "gzips", func(r *rig) {
		r.wantNoUpgrade()
		end := 3 * time.Second
		r.wantEvents(threeParts, 0, event{"0", end}, event{"1", end}, event{"2", end})
		if s := r.stream(threeParts, "Accept-Encoding", "br"); s.err != nil || s.header.Get("Content-Encoding") != "identity" || s.events[0] != passing[0] {
			r.Errorf("where gzip is not accepted: got %+v, want it as it was", s)
		}
		res, err := r.client.Get("http://chime.example/nothing")
		if err != nil {
			r.Fatal(err)
		}
		// A body behind such a status would be taken for an answer to the next request.
		if _ = res.Body.Close(); res.StatusCode != http.StatusNoContent || res.Header.Get("Content-Encoding") != "" {
			r.Errorf("an answer without a body: got %d in the encoding %q, want it as it was", res.StatusCode, res.Header.Get("Content-Encoding"))
		}
	})
}

func TestCutsByTime(t *testing.T) {
	inBubble(t, "cuts-by-time", func(r *rig) {
		for query, want := range map[string]int{"parts=2&every=31s": 1, "parts=5&every=29s": 3} { // at 0, 29 and 58 s
			if s := r.stream(query); s.err == nil || len(s.events) != want {
				r.Errorf("stream %s: got %v and %v, want %d and a cut", query, s.events, s.err, want)
			}
		}
		start := time.Now()
		if lines, ended := r.upgrade().hears(time.Hour); lines != "hello;" || !ended || time.Since(start) != 30*time.Second {
			r.Errorf("a quiet WebSocket: got %q and an end %t after %v, want it after 30 s", lines, ended, time.Since(start))
		}
		start = time.Now()
		s := r.upgrade()
		go func() {
			for range 10 {
				time.Sleep(10 * time.Second)
				s.say("me")
			}
		}()
		if _, ended := s.hears(time.Hour); !ended || time.Since(start) != time.Minute {
			r.Errorf("a busy WebSocket: got an end %t after %v, want it after 60 s", ended, time.Since(start))
		}
	})
}

func TestRepeatsPosts(t *testing.T) {
	inBubble(t, "repeats-posts", func(r *rig) {
		r.wantNoUpgrade()
		if status, body := r.post("a"); status != 200 || body != "post 2" {
			r.Errorf("got %d %q, want the second answer", status, body)
		}
		r.wantPosts("a", "a")
	})
}

func TestLosesAnswers(t *testing.T) {
	inBubble(t, "loses-answers", func(r *rig) {
		r.wantNoUpgrade()
		for i, want := range []int{502, 200, 502, 200} {
			if status, body := r.post(fmt.Sprint(i)); status != want {
				r.Errorf("POST %d: got %d %q, want %d", i, status, body, want)
			}
		}
		r.wantPosts("0", "1", "2", "3")
	})
}

func TestReordersPosts(t *testing.T) {
	inBubble(t, "reorders-posts", func(r *rig) {
		r.wantNoUpgrade()
		var both sync.WaitGroup
		both.Go(func() { r.post("first") })
		both.Go(func() {
			time.Sleep(100 * time.Millisecond)
			r.post("second")
		})
		both.Wait()
		start := time.Now()
		r.post("alone")
		if d := time.Since(start); d != 200*time.Millisecond {
			r.Errorf("a POST alone took %v, want 200 ms", d)
		}
		r.wantPosts("second", "first", "alone")
	})
}

func TestHTTP10(t *testing.T) {
	inBubble(t, "http-1.0", func(r *rig) {
		r.wantNoUpgrade()
		r.wantEvents(threeParts, 0, passing...)
		if s := r.stream(threeParts); s.proto != "HTTP/1.0" || s.length != -1 {
			r.Errorf("got %+v, want HTTP/1.0 without a length", s)
		}
	})
}

func TestSixConnections(t *testing.T) {
	inBubble(t, "six-connections", func(r *rig) {
		r.wantNoUpgrade()
		var all sync.WaitGroup
		for range 6 {
			all.Go(func() { r.stream("parts=2&every=5s") })
		}
		time.Sleep(time.Second)
		start := time.Now()
		if status, _ := r.post("x"); status != 200 || time.Since(start) != 9*time.Second {
			r.Errorf("a seventh: got %d after %v, want it when another has ended, in 9 s", status, time.Since(start))
		}
		all.Wait()
	})
}

func TestHalfOpen(t *testing.T) {
	inBubble(t, "half-open", func(r *rig) {
		s := r.upgrade()
		if lines, _ := s.hears(29 * time.Second); lines != "hello;" {
			r.Errorf("got %q, want hello", lines)
		}
		s.say("in time")
		if lines, _ := s.hears(time.Second - 1); lines != "heard in time;" {
			r.Errorf("after 29 s: got %q, want an answer", lines)
		}
		time.Sleep(time.Nanosecond)
		s.say("too late")
		if lines, ended := s.hears(time.Hour); lines != "" || ended {
			r.Errorf("after 30 s: got %q and an end %t, want nothing", lines, ended)
		}
		if again, _ := r.upgrade().hears(time.Second); again != "hello;" {
			r.Errorf("a new one: got %q, want hello", again)
		}
	})
}

// get returns the body of an answer to a request with headers.
func (r *rig) get(path string, header ...string) (status int, body string) {
	r.Helper()
	req, _ := http.NewRequest(http.MethodGet, r.box.URL+path, nil)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := r.client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(text)
}

func TestStripsHeaders(t *testing.T) {
	inBubble(t, "strips-headers", func(r *rig) {
		_, got := r.get("/headers", "Chime-Secret", "s", "Last-Event-ID", "3", "X-Mine", "m", "Authorization", "Bearer t", "Cookie", "c=1")
		for name, want := range map[string]bool{"Chime-Secret": false, "Last-Event-Id": false, "X-Mine": false, "Authorization": true, "Cookie": true} {
			if strings.Contains(got, name+": ") != want {
				r.Errorf("%s: got %q, want it there %t", name, got, want)
			}
		}
		if lines, _ := r.upgrade().hears(time.Second); lines != "hello;" {
			r.Errorf("WebSocket: got %q, want hello", lines)
		}
	})
}

func TestLimitsHeaders(t *testing.T) {
	inBubble(t, "limits-headers", func(r *rig) {
		if status, body := r.get("/headers", "Authorization", strings.Repeat("x", 7_900)); status != 200 {
			r.Errorf("7.9 kB: got %d %q, want 200", status, body)
		}
		if status, body := r.get("/headers", "Authorization", strings.Repeat("x", 8_192)); status != 400 || !strings.Contains(body, "Too Large") {
			r.Errorf("8 KiB: got %d %q, want 400", status, body)
		}
	})
}

func TestResetsHTTP2(t *testing.T) {
	inBubble(t, "resets-http2", func(r *rig) {
		s := r.stream("parts=100&every=5s")
		if s.err == nil || s.proto != "HTTP/2.0" || len(s.events) != 4 || !strings.Contains(s.err.Error(), "stream error") {
			r.Errorf("got %+v, want the parts of 16 s and a reset of HTTP/2", s)
		}
	})
}

func TestServiceWorker(t *testing.T) {
	inBubble(t, "service-worker", func(r *rig) {
		end := 3 * time.Second
		r.wantEvents(threeParts, end, event{"0", end}, event{"1", end}, event{"2", end})
		if s := r.stream(threeParts); s.header.Get("X-Of-The-Server") != "" || s.header.Get("Content-Type") != "text/event-stream" {
			r.Errorf("got %+v, want the type and nothing else of the server's header", s)
		}
		if status, page := r.get("/broken"); status != 503 || !strings.Contains(page, "you are offline") {
			r.Errorf("no answer of the server: got %d %q, want 503 and a page", status, page)
		}
		if lines, _ := r.upgrade().hears(time.Second); lines != "hello;" {
			r.Errorf("WebSocket: got %q, want hello", lines)
		}
	})
}

func TestLocalNetwork(t *testing.T) {
	inBubble(t, "local-network", func(r *rig) {
		req, _ := http.NewRequest(http.MethodOptions, r.box.URL+"/post", nil)
		res, err := r.client.Do(req)
		if err != nil {
			r.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != 403 || res.Header.Get("Access-Control-Allow-Origin") != "" {
			r.Errorf("preflight: got %s, want 403", res.Status)
		}
		if status, err := r.post("x"); status != 0 || !strings.Contains(err, "EOF") {
			r.Errorf("POST: got %d %q, want no answer", status, err)
		}
		r.wantPosts()
	})
}

func TestFaster(t *testing.T) {
	network, _ := transporttest.Named("half-open")
	behind(t, network.Faster(3).Faster(5), func(r *rig) {
		start := time.Now()
		s := r.stream("parts=10&every=500ms")
		if s.err == nil || len(s.events) != 4 || time.Since(start) != wait {
			r.Errorf("got %v and %v after %v, want the parts of 2 s and no end", s.events, s.err, time.Since(start))
		}
	})
}

func TestStart(t *testing.T) {
	server := httptest.NewServer((&rig{T: t}).mux())
	defer server.Close()
	network, _ := transporttest.Named("drops-upgrade")
	box := network.Start(server.URL)
	defer box.Close()
	r := &rig{T: t, box: box, client: server.Client()}
	if status, body := r.post("x"); status != 200 || body != "post 1" {
		t.Errorf("got %d %q, want an answer over TCP", status, body)
	}
}

// Each network has a test of what it does, named like it.
func TestNetworksAreDescribed(t *testing.T) {
	names := map[string]bool{}
	for _, n := range transporttest.Networks() {
		if names[n.Name] || n.Name == "" || strings.Contains(n.Name, " ") || !strings.HasSuffix(n.Does, ".") {
			t.Errorf("%+v: want a name of its own and a sentence", n)
		}
		names[n.Name] = true
	}
	if len(names) != 23 {
		t.Errorf("got %d networks, want 23", len(names))
	}
	if _, known := transporttest.Named("fair"); known {
		t.Error("got a network that there is not")
	}
}
