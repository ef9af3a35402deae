package nats_test

import (
	"fmt"
	"testing"

	"github.com/go-chime/chime/broker/nats"
)

// What is ephemeral is announced on the node that publishes it before Publish has returned,
// behind what that has retained, and once.
func TestAnEphemeralMessageIsAnnouncedBeforePublishReturns(t *testing.T) {
	t.Parallel()
	s, p := serve(t), prefix()
	b, other := open(t, nats.Options{Server: s, Prefix: p}), open(t, nats.Options{Server: s, Prefix: p})
	l, far := listen(t, b, "a"), listen(t, other, "a")
	const rounds = 200
	for i := range rounds {
		say(t, b, "a", fmt.Sprint(2*i))
		if _, err := b.Publish(t.Context(), said("a", fmt.Sprint(2*i+1)), nil); err != nil {
			t.Fatal(err)
		}
		l.mu.Lock()
		got := len(l.messages)
		l.mu.Unlock()
		if got != 2*i+2 {
			t.Fatalf("%d messages are announced when the last was published, want %d", got, 2*i+2)
		}
	}
	say(t, b, "a", fmt.Sprint(2*rounds))
	for _, l := range []*listener{l, far} {
		l.wait(t, "all", func() bool { return len(l.messages) > 2*rounds })
		for i, m := range l.messages {
			if string(m.Payload) != fmt.Sprint(i) {
				t.Fatalf("announcement %d: got %s", i, m.Payload)
			}
		}
	}
	b.Unsubscribe("a")
	if _, err := b.Publish(t.Context(), said("a", "to others"), nil); err != nil {
		t.Fatal(err)
	}
	far.wait(t, "what is published by who is not in the topic", func() bool { return len(far.messages) > 2*rounds+1 })
}
