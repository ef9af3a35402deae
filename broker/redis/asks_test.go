package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/redistest"
	"github.com/go-chime/chime/store"
)

// twoNodes opens two nodes that answer, at the pace that nodes have: on a machine that has much to
// do a faster one has them miss each other.
func twoNodes(t *testing.T, answer func(ctx context.Context, request []byte) ([]byte, error)) (e *redistest.Server, one, two *Broker) {
	t.Helper()
	e = redistest.Start(t, "--appendfsync", "no")
	one, _ = began(t, e.URL(), Options{})
	two, _ = began(t, e.URL(), Options{Prefix: one.names.prefix})
	one.StartCluster(broker.Node{ID: "one"}, answer)
	two.StartCluster(broker.Node{ID: "two"}, answer)
	up(t, one, "one two")
	return e, one, two
}

// A node that begins again by the name that it had is one, though the list has both.
func TestANodeThatComesBackByItsNameIsAskedOnce(t *testing.T) {
	e, one, two := twoNodes(t, func(_ context.Context, request []byte) ([]byte, error) { return request, nil })
	e.Must(t, "HSET", one.names.nodes(), "former", e.Must(t, "HGET", one.names.nodes(), two.id), "self", e.Must(t, "HGET", one.names.nodes(), one.id))
	if answers, err := one.Ask(t.Context(), []byte("x")); err != nil || len(answers) != 1 || answers[0].Err != nil {
		t.Errorf("got %+v, %v, want one answer", answers, err)
	}
	up(t, one, "one two")
}

// A node whose application answers nothing takes so many requests and no more.
func TestANodeThatAnswersTooManyRequestsRefusesMore(t *testing.T) {
	begun, end := make(chan struct{}, maxAnswers+1), make(chan struct{})
	_, one, _ := twoNodes(t, func(context.Context, []byte) ([]byte, error) {
		begun <- struct{}{}
		<-end
		return nil, nil
	})
	var askers sync.WaitGroup
	ask := func() error {
		answers, err := one.Ask(t.Context(), []byte("x"))
		if err == nil && len(answers) != 1 {
			err = fmt.Errorf("got %d answers, want 1", len(answers))
		}
		if err == nil {
			err = answers[0].Err
		}
		return err
	}
	for range maxAnswers {
		askers.Go(func() {
			if err := ask(); err != nil {
				t.Error(err)
			}
		})
	}
	for range maxAnswers {
		<-begun
	}
	if err := ask(); err == nil || !strings.Contains(err.Error(), errBusy.Error()) {
		t.Errorf("one more: got %v, want %v", err, errBusy)
	}
	close(end)
	askers.Wait()
	if err := ask(); err != nil {
		t.Errorf("after that: %v", err)
	}
}

// Two applications on one engine know nothing of each other, if they have two prefixes.
func TestTwoPrefixesAreApart(t *testing.T) {
	e := redistest.Start(t, "--appendfsync", "no")
	one, seen, heard := peer(t, e.URL(), fresh(), "one")
	two, others, _ := peer(t, e.URL(), fresh(), "two")
	one.Present("a", joins("r1"))
	publish(t, one, "a", "1")
	two.Present("a", joins("r2"))
	publish(t, two, "a", "2")
	seen.until(t, "r1")
	others.until(t, "r2")
	heard.until(t, "it is announced or told", func() bool { return len(heard.announced["a"]) > 0 || heard.missed["a"] > 0 })
	heard.mu.Lock()
	for _, p := range heard.announced["a"] {
		if string(p.Payload) != "1" {
			t.Errorf("told of %q, want its own", p.Payload)
		}
	}
	heard.mu.Unlock()
	for b, want := range map[*Broker]string{one: "1\n", two: "2\n"} {
		if page := read(t, b, "a", store.Range{}); texts(page) != want {
			t.Errorf("got %q, want %q", texts(page), want)
		}
	}
	up(t, one, "one")
	up(t, two, "two")
	if answers, err := two.Ask(t.Context(), []byte("x")); err != nil || len(answers) != 0 {
		t.Errorf("got %+v, %v, want nobody to be asked", answers, err)
	}
}

// What is too large for an announcement is refused at once, and cuts no connection.
func TestARequestOrAnAnswerThatIsTooLarge(t *testing.T) {
	_, b, _ := twoNodes(t, func(context.Context, []byte) ([]byte, error) { return make([]byte, maxPayload+1), nil })
	began := time.Now()
	answers, err := b.Ask(t.Context(), []byte("all"))
	if err != nil || len(answers) != 1 || answers[0].Err == nil || !strings.Contains(answers[0].Err.Error(), broker.ErrTooLarge.Error()) {
		t.Errorf("got %d answers, %v, want one that says that it is too large", len(answers), err)
	}
	if took := time.Since(began); took > patience/2 {
		t.Errorf("that took %v", took)
	}
	if _, err := b.Ask(t.Context(), make([]byte, maxPayload+1)); !errors.Is(err, broker.ErrTooLarge) {
		t.Errorf("a request: got %v, want %v", err, broker.ErrTooLarge)
	}
	for _, f := range b.feeds {
		if err := f.health(); err != nil {
			t.Errorf("a connection was lost: %v", err)
		}
	}
}

// Whoever has lost its connection sends a request again, which may have come.
func TestARequestThatComesTwiceIsAnsweredOnce(t *testing.T) {
	var n atomic.Int64
	e, one, _ := twoNodes(t, func(context.Context, []byte) ([]byte, error) {
		n.Add(1)
		return nil, nil
	})
	for range 2 {
		e.Must(t, "PUBLISH", one.names.node("two"), "ask some.1 one 10000\nx")
	}
	if answers, err := one.Ask(t.Context(), []byte("x")); err != nil || len(answers) != 1 || answers[0].Err != nil {
		t.Errorf("got %+v, %v", answers, err)
	}
	redistest.Eventually(t, "the first is answered", func() bool { return n.Load() >= 2 })
	if n.Load() != 2 {
		t.Errorf("answered %d times, want the first and the last", n.Load())
	}
}

// Close ends what a node asks others, also if the engine hangs: else it would wait for as long as an
// attempt may take. Before that it takes a second to leave, and after that one for each connection.
func TestCloseDoesNotWaitForAnEngineThatHangs(t *testing.T) {
	e, one, _ := twoNodes(t, func(_ context.Context, request []byte) ([]byte, error) { return request, nil })
	e.Stop(t)
	t.Cleanup(func() { e.GoOn(t) })
	began := time.Now()
	came := one.asks.one(t.Context(), "one", "two", []byte("x"))
	closed := make(chan error, 1)
	go func() { closed <- one.Close() }()
	if a := <-came; !errors.Is(a.Err, store.ErrClosed) {
		t.Errorf("who asks has %v, want %v", a.Err, store.ErrClosed)
	}
	if took := time.Since(began); took > silence*3/5 {
		t.Errorf("who asks has that after %v, as the attempt ends", took)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}
