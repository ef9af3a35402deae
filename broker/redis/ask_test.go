package redis

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/redistest"
)

// twoNodes opens two nodes, the second of which answers. It returns the first.
func twoNodes(t *testing.T, answer func(ctx context.Context, request []byte) ([]byte, error)) (*redistest.Server, *Broker) {
	t.Helper()
	e := redistest.Start(t, "--appendfsync", "no")
	one, _ := began(t, e.URL(), Options{pace: pace})
	two, _ := began(t, e.URL(), Options{Prefix: one.names.prefix, pace: pace})
	one.StartCluster(broker.Node{ID: "one"}, answer)
	two.StartCluster(broker.Node{ID: "two"}, answer)
	up(t, one, "one two")
	return e, one
}

// What is too large for an announcement is refused at once, and cuts no connection.
func TestARequestOrAnAnswerThatIsTooLarge(t *testing.T) {
	_, b := twoNodes(t, func(context.Context, []byte) ([]byte, error) { return make([]byte, maxPayload+1), nil })
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
	e, one := twoNodes(t, func(context.Context, []byte) ([]byte, error) {
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
