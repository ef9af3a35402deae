package nats_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/nats"
)

// Who answers is told for how long is waited, also where whoever asks sets no limit: else an
// answer that hangs would hang for ever, and with others like it keep the node from answering.
func TestWhoAnswersIsToldHowLongIsWaited(t *testing.T) {
	t.Parallel()
	s, p := serve(t), prefix()
	var asks *nats.Broker
	for _, id := range []string{"asks", "answers"} {
		b := open(t, nats.Options{Server: s, Prefix: p})
		listen(t, b)
		b.StartCluster(broker.Node{ID: id}, func(ctx context.Context, _ []byte) ([]byte, error) {
			end, limited := ctx.Deadline()
			return fmt.Append(nil, limited && time.Until(end) < time.Minute), nil
		})
		if asks == nil {
			asks = b
		}
	}
	until(t, "the nodes know of each other", func() bool {
		list, err := asks.Nodes(t.Context())
		return err == nil && len(list) == 2
	})
	for _, ctx := range []context.Context{context.Background(), t.Context()} { // the other may be cancelled
		answers, err := asks.Ask(ctx, nil)
		if err != nil || len(answers) != 1 || string(answers[0].Body) != "true" {
			t.Errorf("got %+v, %v, want one answer that knows its limit", answers, err)
		}
	}
}
