package server_test

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/go-chime/chime/internal/server"
	"github.com/go-chime/chime/transport"
)

// What a POST costs, from its head to the answer: one that is not meant well no more than
// three times as much as one that is, of the same size.

const postedBytes = 256 << 10

// postOffice is a server with one client that polls, whose rates are not bounded.
type postOffice struct {
	*hall
	secret string
	next   int    // number of its next frame
	batch  []byte // of as many frames as a POST may have, and as many bytes
}

const honestBegin = `{"first":%9d,"received":0,"frames":[`

func openPostOffice(tb testing.TB) *postOffice {
	tb.Helper()
	limits := transport.Limits{FramesPerSecond: transport.NoLimit, BytesPerSecond: transport.NoLimit, PostsPerSecond: transport.NoLimit}
	h, err := newHall(server.Config{Limits: limits, Accept: func(transport.ClientSocket) transport.Receiver { return deafTo{} }})
	if err != nil {
		tb.Fatal(err)
	}
	secret := ""
	tb.Cleanup(func() {
		h.server.ServeBye(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/bye", strings.NewReader(secret)))
		_ = h.close()
	})
	r := httptest.NewRequest(http.MethodGet, "/poll", nil)
	r.Header.Set("Chime-Received", "0")
	w := httptest.NewRecorder()
	h.server.ServePoll(w, r)
	hello := regexp.MustCompile(`"secret":"([^"]+)"`).FindStringSubmatch(w.Body.String())
	if hello == nil {
		tb.Fatalf("got %d %s, want a hello", w.Code, w.Body)
	}
	secret = hello[1]
	batch := []byte(fmt.Sprintf(honestBegin, 1))
	frame := fmt.Sprintf(`["1","17","chat_room:lobby","message_new",{"message":"%s"}],`, strings.Repeat("hello all ", 255))
	batch = append(batch, strings.TrimSuffix(strings.Repeat(frame, 100), ",")...)
	batch = append(batch, strings.Repeat(" ", postedBytes-len(batch)-2)+"]}"...)
	return &postOffice{h, secret, 1, batch}
}

// post sends a body, and returns the status.
func (o *postOffice) post(body []byte, secret string) int {
	r := httptest.NewRequest(http.MethodPost, "/poll", bytes.NewReader(body))
	r.Header.Set("Chime-Secret", secret)
	w := httptest.NewRecorder()
	o.server.ServePost(w, r)
	return w.Code
}

// honest sends the next frames.
func (o *postOffice) honest() int {
	copy(o.batch, fmt.Sprintf(honestBegin, o.next))
	o.next += 100
	return o.post(o.batch, o.secret)
}

// hostile are bodies with how they are answered.
var hostile = map[string]struct {
	body   []byte
	status int
}{
	"zeros":          {filledBatch("0,"), 400},
	"small frames":   {filledBatch(`["","","t","e",0],`), 400},
	"spaces":         {bytes.Repeat([]byte(" "), postedBytes), 400},
	"brackets":       {bytes.Repeat([]byte("["), postedBytes), 400},
	"an old batch":   {[]byte(`{"first":1,"frames":[["","","t","e",0]` + strings.Repeat(`,["","","t","e",0]`, 99) + strings.Repeat(" ", postedBytes-2000) + `]}`), 200},
	"a gap":          {[]byte(`{"first":9000000,"frames":[` + strings.Repeat(" ", postedBytes-100) + `]}`), 409},
	"too large":      {bytes.Repeat([]byte(" "), postedBytes+1), 413},
	"a wrong secret": {filledBatch("0,"), 410},
}

func filledBatch(part string) []byte {
	const begin = `{"first":1,"received":0,"frames":[`
	return []byte(begin + strings.Repeat(part, (postedBytes-len(begin))/len(part)))
}

func (o *postOffice) hostile(tb testing.TB, name string) {
	tb.Helper()
	secret := o.secret
	if name == "a wrong secret" {
		secret = "guess"
	}
	if status := o.post(hostile[name].body, secret); status != hostile[name].status {
		tb.Fatalf("%s: got %d, want %d", name, status, hostile[name].status)
	}
}

func TestNoPostCostsMuchMoreMemoryThanAnHonestOne(t *testing.T) {
	o := openPostOffice(t)
	cost := func(post func()) (size, allocations uint64) {
		var before, after runtime.MemStats
		const rounds = 20
		post() // which makes the buffers
		runtime.ReadMemStats(&before)
		for range rounds {
			post()
		}
		runtime.ReadMemStats(&after)
		return (after.TotalAlloc - before.TotalAlloc) / rounds, (after.Mallocs - before.Mallocs) / rounds
	}
	size, allocations := cost(func() {
		if status := o.honest(); status != http.StatusOK {
			t.Fatalf("an honest POST: got %d, want 200", status)
		}
	})
	if size > 2*postedBytes {
		t.Errorf("an honest POST of %d bytes: %d bytes, want at most twice as many", postedBytes, size)
	}
	for name := range hostile {
		if b, n := cost(func() { o.hostile(t, name) }); b > postedBytes || n > 3*allocations {
			t.Errorf("%s: %d bytes in %d allocations, want at most %d in three times %d", name, b, n, postedBytes, allocations)
		}
	}
}

// BenchmarkServePost reports what a hostile POST costs in times of an honest one of its
// size, measured before it in the same run.
func BenchmarkServePost(b *testing.B) {
	o := openPostOffice(b)
	run := func(b *testing.B, post func()) float64 {
		b.SetBytes(postedBytes)
		b.ReportAllocs()
		for b.Loop() {
			post()
		}
		return float64(b.Elapsed()) / float64(b.N)
	}
	var honest float64
	b.Run("honest", func(b *testing.B) { honest = run(b, func() { o.honest() }) })
	for _, name := range slices.Sorted(maps.Keys(hostile)) {
		b.Run(name, func(b *testing.B) {
			if cost := run(b, func() { o.hostile(b, name) }); honest > 0 {
				b.ReportMetric(cost/honest, "x-honest")
			}
		})
	}
}
