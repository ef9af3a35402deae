package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/redistest"
)

// pace is that of tests which wait for a node to be missed.
const pace = 100 * time.Millisecond

// crowd is who is present, as a node is told.
type crowd struct {
	mu      sync.Mutex // guards what follows
	refs    map[string]bool
	left    int      // how many leaves it was told of
	strange []string // joins of who was there, and leaves of who was not
	changed chan struct{}
}

func (c *crowd) change(_ string, n broker.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range n.Joins {
		if c.refs[p.Ref] {
			c.strange = append(c.strange, "again "+p.Ref)
		}
		c.refs[p.Ref] = true
	}
	for _, p := range n.Leaves {
		if !c.refs[p.Ref] {
			c.strange = append(c.strange, "not "+p.Ref)
		}
		delete(c.refs, p.Ref)
		c.left++
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

// until waits until those are present.
func (c *crowd) until(t testing.TB, want string) {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		c.mu.Lock()
		got, changed := strings.Join(slices.Sorted(maps.Keys(c.refs)), " "), c.changed
		c.mu.Unlock()
		if got == want {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			t.Fatalf("present: got %q after %v, want %q", got, patience, want)
		}
	}
}

// count waits until so many are present.
func (c *crowd) count(t testing.TB, want int) {
	t.Helper()
	redistest.Eventually(t, fmt.Sprint(want, " are present"), func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.refs) == want
	})
}

// peer is a node with a name and a presence, in the topic "a".
func peer(t testing.TB, url, prefix, name string) (*Broker, *crowd, *watcher) {
	t.Helper()
	return peerThatLogs(t, url, prefix, name, nil)
}

func peerThatLogs(t testing.TB, url, prefix, name string, log *slog.Logger) (*Broker, *crowd, *watcher) {
	t.Helper()
	b, w, c := open(t, url, Options{Prefix: prefix, pace: pace, Log: log}), newWatcher(), &crowd{refs: map[string]bool{}, changed: make(chan struct{})}
	b.Start(w)
	b.StartCluster(broker.Node{ID: name, Name: "host"}, func(ctx context.Context, request []byte) ([]byte, error) {
		if string(request) == "wait" {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return request, nil
	})
	b.StartPresence(c.change)
	if err := b.Subscribe(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	return b, c, w
}

// burialLog is told which nodes are said to be gone.
type burialLog struct{ said chan string }

func (burialLog) Enabled(context.Context, slog.Level) bool { return true }
func (g burialLog) WithAttrs([]slog.Attr) slog.Handler     { return g }
func (g burialLog) WithGroup(string) slog.Handler          { return g }
func (g burialLog) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if strings.HasSuffix(r.Message, "is taken to be gone") && a.Key == "node" {
			g.said <- a.Value.String()
		}
		return true
	})
	return nil
}

func joins(refs ...string) (c broker.Change) {
	for _, ref := range refs {
		c.Joins = append(c.Joins, broker.Present{Key: "key", Ref: ref, Meta: fmt.Appendf(nil, `{"phx_ref":%q}`, ref)})
	}
	return c
}

// kill ends a broker as the end of its process would.
func kill(b *Broker) {
	b.end()
	_ = b.Close()
}

// up waits until the nodes are these.
func up(t testing.TB, b *Broker, want string) {
	t.Helper()
	var got string
	for end := time.Now().Add(patience); time.Now().Before(end); pause(t.Context(), 0) {
		nodes, err := b.Nodes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, n := range nodes {
			names = append(names, n.ID)
		}
		slices.Sort(names)
		if got = strings.Join(names, " "); got == want {
			return
		}
	}
	t.Fatalf("nodes: got %q after %v, want %q", got, patience, want)
}

func TestThoseOnANodeThatIsGoneLeave(t *testing.T) {
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		e := program.Start(t, "--appendfsync", "no")
		prefix := fresh()
		burials := burialLog{said: make(chan string, 10)}
		one, seen, _ := peerThatLogs(t, e.URL(), prefix, "one", slog.New(burials))
		two, _, _ := peer(t, e.URL(), prefix, "two")
		three, others, _ := peerThatLogs(t, e.URL(), prefix, "three", slog.New(burials))
		one.Present("a", joins("r1"))
		two.Present("a", joins("r2", "r3"))
		seen.until(t, "r1 r2 r3")
		others.until(t, "r1 r2 r3")
		up(t, one, "one three two")
		kill(two)
		if id := <-burials.said; id != "two" {
			t.Errorf("the log says that %q is gone, want two", id)
		}
		seen.until(t, "r1")
		others.until(t, "r1")
		up(t, three, "one three")
		list, err := three.ListPresence(t.Context(), "a")
		if err != nil || len(list) != 1 || list[0].Ref != "r1" || list[0].Key != "key" || string(list[0].Meta) != `{"phx_ref":"r1"}` {
			t.Errorf("listed %+v, %v, want r1", list, err)
		}
		// One that ends as it should is missed at once.
		if err := one.Close(); err != nil {
			t.Error(err)
		}
		others.until(t, "")
		up(t, three, "three")
		for _, c := range []*crowd{seen, others} {
			if len(c.strange) > 0 {
				t.Errorf("told of %q, want no one twice", c.strange)
			}
		}
		if left := e.Must(t, "EXISTS", one.names.topics(two.id), one.names.topics(one.id)); left != "0" {
			t.Errorf("of the nodes that are gone %s keys are left, want 0", left)
		}
	})
}

// A node that was taken to be gone, and was only slow, says again who is there.
func TestANodeThatWasBuriedComesBack(t *testing.T) {
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		e := program.Start(t, "--appendfsync", "no")
		prefix := fresh()
		p := newProxy(t, e)
		one, seen, _ := peer(t, e.URL(), prefix, "one")
		two, others, _ := peer(t, p.url(), prefix, "two")
		two.Present("a", joins("r2"))
		one.Present("a", joins("r1"))
		seen.until(t, "r1 r2")
		others.until(t, "r1 r2")
		p.refuse(true)
		p.cut()
		seen.until(t, "r1")
		one.Present("a", joins("r3"))
		p.refuse(false)
		seen.until(t, "r1 r2 r3")
		others.until(t, "r1 r2 r3")
		up(t, one, "one two")
	})
}

// Changes that a node has missed are found when it hears again.
func TestChangesThatWereMissedAreFound(t *testing.T) {
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		e := program.Start(t, "--appendfsync", "no")
		prefix := fresh()
		p := newProxy(t, e)
		one, _, _ := peer(t, e.URL(), prefix, "one")
		_, others, heard := peer(t, p.url(), prefix, "two")
		one.Present("a", joins("r1", "r2"))
		others.until(t, "r1 r2")
		p.refuse(true)
		p.cut()
		one.Present("a", broker.Change{Joins: joins("r3").Joins, Leaves: joins("r1").Joins})
		p.refuse(false)
		heard.until(t, "it hears again", func() bool { return heard.missed["a"] > 0 })
		others.until(t, "r2 r3")
		if len(others.strange) > 0 {
			t.Errorf("told of %q, want no one twice", others.strange)
		}
	})
}

// A write that comes late, after those it was about have left, is put right.
func TestAPresenceThatIsWrittenLateIsTakenBack(t *testing.T) {
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		e := program.Start(t, "--appendfsync", "no")
		prefix := fresh()
		one, _, _ := peer(t, e.URL(), prefix, "one")
		_, others, _ := peer(t, e.URL(), prefix, "two")
		one.Present("a", joins("r1"))
		others.until(t, "r1")
		one.Present("a", broker.Change{Leaves: joins("r1").Joins})
		others.until(t, "")
		c := joins("r1")
		err := run(t.Context(), one.client, presentScript, []string{one.names.present("a")}, one.names.channel("a"), one.id, pack(c), "1",
			"r1", one.id+"\n"+pack(c)).Error()
		if err != nil {
			t.Fatal(err)
		}
		others.until(t, "")
		for {
			list, err := one.ListPresence(t.Context(), "a")
			if err != nil {
				t.Fatal(err)
			}
			if len(list) == 0 {
				break
			}
		}
	})
}

func TestAskEndsWithItsContext(t *testing.T) {
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		e := program.Start(t, "--appendfsync", "no")
		prefix := fresh()
		one, _, _ := peer(t, e.URL(), prefix, "one")
		two, _, _ := peer(t, e.URL(), prefix, "two")
		up(t, one, "one two")
		ctx, cancel := context.WithTimeout(t.Context(), pace)
		defer cancel()
		answers, err := one.Ask(ctx, []byte("wait"))
		if err != nil || len(answers) != 1 || !errors.Is(answers[0].Err, context.DeadlineExceeded) || answers[0].Node.ID != "two" {
			t.Errorf("got %+v, %v, want the end of the context for two", answers, err)
		}
		kill(two)
		answers, err = one.Ask(t.Context(), []byte("x")) // before it is missed
		if err != nil || len(answers) != 1 || !errors.Is(answers[0].Err, errDeaf) {
			t.Errorf("got %+v, %v, want that two does not hear", answers, err)
		}
		if _, err := two.Ask(t.Context(), nil); err == nil {
			t.Error("a broker that is closed asks")
		}
	})
}
