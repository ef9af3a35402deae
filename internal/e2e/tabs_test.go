package e2e

import (
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-chime/chime/internal/need"
)

// Eight tabs of one browser, where no WebSocket gets through: it has six connections for
// all, so at most three are parked. All load, join and hear each other.
func TestChromiumHasEightTabsWithoutWebSockets(t *testing.T) {
	need.Program(t, "chromium", "chromium-browser", "google-chrome")
	need.Program(t, "chromedriver")
	const tabs, parked = 8, 3
	const most = 2 * time.Second // where times are held
	s := serve(t)
	f := &counter{}
	front := httptest.NewServer(f.before(t, s.url))
	t.Cleanup(front.Close)
	b := browse(t)
	all := make([]*chatter, tabs)
	for i := range all {
		begun := time.Now()
		c := &chatter{b.open(t, front.URL+"/rooms/lobby"), fmt.Sprint("Tab", i)}
		wantWithin(t, "the document of "+c.name, time.Since(begun), most)
		begun = time.Now()
		c.comesIn(t)
		wantWithin(t, "the join of "+c.name, time.Since(begun), most)
		all[i] = c
	}
	for i, c := range all {
		begun, said := time.Now(), fmt.Sprint("from tab ", i)
		c.say(t, said)
		for _, other := range all {
			other.reads(t, said)
		}
		wantWithin(t, "the message of "+c.name+", for all,", time.Since(begun), most)
	}
	if most := f.settled(); most > parked {
		t.Errorf("%d requests are parked, want %d at most", most, parked)
	}

	// Tabs go and come, whichever they are: nothing is lost, and nothing comes twice.
	random := rand.New(rand.NewPCG(need.Seed(t), 0))
	var has []string
	for i := range all {
		has = append(has, fmt.Sprint("from tab ", i))
	}
	for n := range need.Rounds(4, 30) {
		i := random.IntN(tabs)
		c := all[i]
		if random.IntN(2) == 0 {
			c.reloads(t)
		} else {
			c.close(t)
			all[(i+1)%tabs].front(t) // a window that is closed opens no other
			all[i] = enter(t, b, front.URL, "lobby", c.name)
		}
		said := fmt.Sprint("round ", n)
		all[random.IntN(tabs)].say(t, said)
		has = append(has, said)
	}
	for _, c := range all {
		c.reads(t, has[len(has)-1])
		c.wantOnce(t, has...) // fewer than a join is replayed
	}
	if errs := b.uncaught(t); len(errs) > 0 {
		t.Errorf("the page's script failed: %q", errs)
	}
}

// counter is a proxy that knows no WebSockets, and counts the requests that are under way.
type counter struct {
	mu    sync.Mutex // guards now
	now   int
	since []int
}

func (f *counter) before(t *testing.T, to string) http.Handler {
	t.Helper()
	at, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	forward := httputil.NewSingleHostReverseProxy(at)
	forward.ErrorLog = log.New(io.Discard, "", 0)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		f.add(1)
		defer f.add(-1)
		forward.ServeHTTP(w, r)
	})
}

func (f *counter) add(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now += n
	f.since = append(f.since, f.now)
}

// settled returns the fewest that were under way in a time in which many come and go:
// these are parked.
func (f *counter) settled() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Min(f.since[len(f.since)-50:])
}
