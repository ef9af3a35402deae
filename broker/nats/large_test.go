package nats_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/nats"
	"github.com/go-chime/chime/broker/nats/embedded"
)

// small starts a server that takes messages of 32 KiB at most.
func small(t *testing.T) *embedded.Server {
	t.Helper()
	s, err := embedded.Start(embedded.Options{Dir: t.TempDir(), Name: "small", MaxPayload: 32 << 10, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// met opens two nodes that know of each other.
func met(t *testing.T, s *embedded.Server, log *slog.Logger, answer func([]byte) ([]byte, error)) (one, two *nats.Broker) {
	t.Helper()
	p := prefix()
	var list []*nats.Broker
	for i := range 2 {
		b := open(t, nats.Options{Server: s, Prefix: p, Log: log})
		listen(t, b)
		b.StartCluster(broker.Node{ID: fmt.Sprint("node-", i)}, func(_ context.Context, request []byte) ([]byte, error) { return answer(request) })
		list = append(list, b)
	}
	for _, b := range list {
		until(t, "the nodes know of each other", func() bool {
			nodes, err := b.Nodes(t.Context())
			return err == nil && len(nodes) == 2
		})
	}
	return list[0], list[1]
}

// An answer that is larger than what the servers take comes in parts, and a request that is
// larger is an error that says so.
func TestAnAnswerIsLargerThanWhatTheServersTake(t *testing.T) {
	t.Parallel()
	one, _ := met(t, small(t), quiet, func(request []byte) ([]byte, error) {
		if len(request) == 0 {
			return nil, nil
		}
		return bytes.Repeat(request, 50_000), nil
	})
	for request, want := range map[string]string{"": "", "0123456789": strings.Repeat("0123456789", 50_000)} {
		answers, err := one.Ask(t.Context(), []byte(request))
		if err != nil || len(answers) != 1 || answers[0].Err != nil || string(answers[0].Body) != want {
			t.Fatalf("request %q: got %d answers, %v, %+.80v, want one of %d bytes", request, len(answers), err, answers, len(want))
		}
	}
	answers, err := one.Ask(t.Context(), make([]byte, 40_000))
	if err != nil || len(answers) != 1 || !errors.Is(answers[0].Err, broker.ErrTooLarge) {
		t.Errorf("a large request: got %+v, %v, want that it is %v", answers, err, broker.ErrTooLarge)
	}
}

// Those present are told of in parts that the servers take, at once and to a node that asks
// later. One alone that is too large is known on its own node, and the log says so.
func TestWhoIsPresentIsLargerThanWhatTheServersTake(t *testing.T) {
	t.Parallel()
	const people = 60
	var log bytes.Buffer
	one, two := met(t, small(t), slog.New(slog.NewTextHandler(&log, nil)), func([]byte) ([]byte, error) { return nil, nil })
	var mu sync.Mutex
	here := map[string]string{}
	one.StartPresence(func(string, broker.Change) {})
	two.StartPresence(func(_ string, c broker.Change) {
		mu.Lock()
		defer mu.Unlock()
		for _, p := range c.Joins {
			here[p.Ref] = string(p.Meta)
		}
		for _, p := range c.Leaves {
			delete(here, p.Ref)
		}
	})
	if err := one.Subscribe(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	meta := func(ref string) string {
		return fmt.Sprintf(`{"phx_ref":%q,"name":%q}`, ref, strings.Repeat("<&>", 1000))
	}
	var all broker.Change
	for i := range people {
		ref := fmt.Sprint("r", i)
		all.Joins = append(all.Joins, broker.Present{Key: "k\x01", Ref: ref, Meta: []byte(meta(ref))})
	}
	huge := broker.Present{Key: "huge", Ref: "huge", Meta: []byte(`{"x":"` + strings.Repeat("x", 40_000) + `"}`)}
	one.Present("a", broker.Change{Joins: append(all.Joins[:people:people], huge)})
	if err := two.Subscribe(t.Context(), "a"); err != nil { // it asks
		t.Fatal(err)
	}
	want := func(what string, n int) {
		t.Helper()
		until(t, what, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(here) == n
		})
		mu.Lock()
		defer mu.Unlock()
		for ref, got := range here {
			if got != meta(ref) {
				t.Errorf("%s: %s has the meta %.60q, want %.60q", what, ref, got, meta(ref))
			}
		}
	}
	want("those who were present before", people)
	one.Present("a", broker.Change{Leaves: all.Joins})
	want("nobody", 0)
	one.Present("a", all)
	want("those who have come together", people)
	for b, n := range map[*nats.Broker]int{one: people + 1, two: people} {
		until(t, "listed", func() bool { // a node that is late by a second is taken to have nobody
			list, err := b.ListPresence(t.Context(), "a")
			return err == nil && len(list) == n
		})
	}
	_, _ = one.Close(), two.Close()
	if !strings.Contains(log.String(), "too large to be told") {
		t.Errorf("got the log\n%s\nwant that one is too large", log.String())
	}
}

func TestMaxPayloadIsTooSmall(t *testing.T) {
	t.Parallel()
	s, err := embedded.Start(embedded.Options{Dir: t.TempDir(), Name: "tiny", MaxPayload: 8 << 10, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b, err := nats.Open(t.Context(), nats.Options{Server: s, Log: quiet})
	if err == nil {
		_ = b.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "max_payload of the server is 8192 bytes: want 32768 at least") {
		t.Errorf("got %v, want that max_payload is too small", err)
	}
}
