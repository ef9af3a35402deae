//go:build !race

// A thousand clients take minutes under the race detector; .ci/run has these tests
// without it, too.

package server_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/internal/server"
)

// fleet are clients that come back, each kind by the rules of its own, and where
// they find a server.
type fleet struct {
	dying *bubble
	begun time.Time
	ended sync.WaitGroup

	mu       sync.Mutex // guards what follows
	next     *site      // nil while nobody listens
	returned []time.Duration
	strays   int // that the dying server has taken after the drain began
}

// home returns where a connection goes.
func (f *fleet) home() (*site, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.next == nil {
		return nil, errors.New("connection refused")
	}
	return f.next, nil
}

func (f *fleet) moveTo(s *site) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next = s
}

// back counts the return of a client.
func (f *fleet) back(l line) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.next == f.dying.site {
		f.strays++
	}
	f.returned = append(f.returned, time.Since(f.begun))
	f.dying.t.Cleanup(l.Vanish)
}

// come opens a connection at home.
func (f *fleet) come(open func(*site) (line, error)) (line, error) {
	s, err := f.home()
	if err != nil {
		return nil, err
	}
	return open(s)
}

// phoenix waits as phoenix.js does, without chance.
func (f *fleet) phoenix(l line) {
	defer f.ended.Done()
	if text, err := l.text(); err == nil {
		f.dying.t.Errorf("phoenix: got %s, want the end", text)
	}
	l.Vanish()
	steps := []int{10, 50, 100, 150, 200, 250, 500, 1000, 2000, 5000}
	for n := 0; ; n++ {
		time.Sleep(time.Duration(steps[min(n, len(steps)-1)]) * time.Millisecond)
		if l, err := f.come(func(s *site) (line, error) { return opened(s.phoenix()) }); err == nil {
			f.back(l)
			return
		}
	}
}

// eventSource waits for what the server last said, or for the 3 s of a browser.
func (f *fleet) eventSource(l line) {
	defer f.ended.Done()
	retry := 3 * time.Second
	for es := l.(*stream); ; {
		lines, err := es.event()
		if err != nil {
			break
		}
		for _, one := range lines {
			if ms, ok := strings.CutPrefix(one, "retry: "); ok {
				n, _ := strconv.Atoi(ms)
				retry = time.Duration(n) * time.Millisecond
			}
		}
	}
	l.Vanish()
	for {
		time.Sleep(retry)
		l, err := f.come(bareStream)
		if err != nil {
			continue
		}
		first, err := l.(*stream).r.Peek(1) // a comment, or what refuses it
		if err == nil && first[0] == ':' {
			f.back(l)
			return
		}
		if lines, err := l.(*stream).event(); err == nil {
			if ms, ok := strings.CutPrefix(lines[0], "retry: "); ok {
				n, _ := strconv.Atoi(ms)
				retry = time.Duration(n) * time.Millisecond
			}
		}
		l.Vanish()
	}
}

func bareStream(s *site) (line, error) { return s.stream("/sse?join=room:1") }

// chime waits as chime.js does: for what it was told last, and then for a time that
// grows with the tries, of which it takes a part at random.
func (f *fleet) chime(open func(*site) (line, error)) func(line) {
	return func(l line) {
		defer f.ended.Done()
		var least time.Duration
		for {
			text, err := l.text()
			if err != nil {
				break
			}
			var ms int
			if _, err := fmt.Sscanf(text, `[null,null,"chime","drain",{"retry_ms":%d,`, &ms); err == nil {
				least = time.Duration(ms) * time.Millisecond
			}
		}
		l.Vanish()
		if least == 0 {
			f.dying.t.Error("a client of the chime dialect was told no time")
		}
		for n := 0; ; n++ {
			time.Sleep(least + rand.N(min(500*time.Millisecond<<min(n, 10), 20*time.Second)))
			if l, err := f.come(open); err == nil {
				f.back(l)
				return
			} else if refused, ok := errors.AsType[*refusedError](err); ok { // chime.js tries a stream too, and reads its Retry-After
				least = refused.after
			}
		}
	}
}

// A crowd must not meet the next server in the same moment, however it comes back,
// and whether a server is there at once, or later, or the dying one still listens.
func TestThoseWhoAreDrainedComeBackOneByOne(t *testing.T) {
	const clients, worst = 1000, 50 // at most 5 % in any 100 ms
	for _, tt := range []struct {
		name string
		then func(*fleet, *site, <-chan error)
	}{
		{"to a server that is there", func(f *fleet, next *site, _ <-chan error) { f.moveTo(next) }},
		{"to one that starts when this one has ended", func(f *fleet, next *site, done <-chan error) {
			f.moveTo(nil)
			<-done //nolint:errcheck // looked at by its test
			time.Sleep(time.Second)
			f.moveTo(next)
		}},
		{"to one behind a proxy that learns of it late", func(f *fleet, next *site, done <-chan error) {
			<-done //nolint:errcheck // looked at by its test
			time.Sleep(time.Second)
			f.moveTo(next)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, network{}, server.Config{}, nil, func(t *testing.T, b *bubble) {
				f := &fleet{dying: b, next: b.site}
				over := make(chan struct{})
				defer close(over)
				go func() { // nobody looks at these
					for {
						select {
						case <-b.clients:
						case <-b.closed:
						case <-over:
							return
						}
					}
				}()
				wsChime := func(s *site) (line, error) { return opened(s.chime()) }
				sseChime := func(s *site) (line, error) { return s.stream("/sse", "Chime-Received: 0") }
				kinds := []struct {
					open func(*site) (line, error)
					live func(line)
				}{
					{func(s *site) (line, error) { return opened(s.phoenix()) }, f.phoenix},
					{bareStream, f.eventSource},
					{wsChime, f.chime(wsChime)},
					{sseChime, f.chime(sseChime)},
				}
				for i := range clients {
					kind := kinds[i%len(kinds)]
					l, err := kind.open(b.site)
					if err != nil {
						t.Fatal(err)
					}
					f.ended.Add(1)
					go kind.live(l)
				}
				next := nextServer(t)
				synctest.Wait() // they are all in
				f.begun = time.Now()
				done := make(chan error, 1)
				go func() {
					err := b.server.Shutdown(t.Context())
					done <- err
					if took := time.Since(f.begun); err != nil || took > 12*time.Second {
						t.Errorf("Shutdown: got %v after %v, want nil after 10s and a farewell", err, took)
					}
				}()
				tt.then(f, next, done)
				f.ended.Wait()

				if f.strays > 0 {
					t.Errorf("%d clients were let in by the dying server, want none", f.strays)
				}
				histogram := map[time.Duration]int{}
				for _, at := range f.returned {
					histogram[at.Truncate(100*time.Millisecond)]++
				}
				for at, n := range histogram {
					if n > worst {
						t.Errorf("%d of %d came back within 100 ms, %v after the drain began, want at most %d", n, clients, at, worst)
					}
				}
				t.Logf("returned: the first after %v, the last after %v; at most %d in 100 ms", slices.Min(f.returned), slices.Max(f.returned), slices.Max(slices.Collect(maps.Values(histogram))))
			})
		})
	}
}
