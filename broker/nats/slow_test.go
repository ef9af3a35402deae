package nats_test

import (
	"sync"
	"testing"

	"github.com/go-chime/chime/broker/nats"
	"github.com/go-chime/chime/internal/nodetest"
	"github.com/go-chime/chime/store"
)

// The client library drops what a node does not take in time. The node says so in its log, looks
// at its topics, and its members are sent what was dropped.
func TestANodeIsTooSlowForWhatIsAnnounced(t *testing.T) {
	t.Parallel()
	s, p := serve(t), prefix()
	var log text
	slow := open(t, nats.Options{Server: s, Prefix: p, Log: log.Logger()})
	ann := nodetest.Join(nodetest.Hubs(t, slow)[0], "ann")
	if err := slow.Subscribe(t.Context(), "flood"); err != nil {
		t.Fatal(err)
	}
	other := open(t, nats.Options{Server: s, Prefix: p})
	listen(t, other)
	release := sync.OnceFunc(nats.Stall(slow))
	defer release()
	for range nats.Announced + 100 {
		if _, err := other.Publish(t.Context(), said("flood", "x"), nil); err != nil {
			t.Fatal(err)
		}
	}
	log.wait(t, "announcements may be lost")
	dropped := said("room:1", `"dropped"`)
	for range 2 {
		if _, err := other.Publish(t.Context(), dropped, &store.Retention{Keep: 10}); err != nil {
			t.Fatal(err)
		}
	}
	if err := nats.Received(slow); err != nil {
		t.Fatal(err)
	}
	release()
	for range 2 {
		ann.WantBroadcast("said", "dropped")
	}
	if _, err := other.Publish(t.Context(), said("room:1", `"after"`), &store.Retention{Keep: 10}); err != nil {
		t.Fatal(err)
	}
	ann.WantBroadcast("said", "after")
}
