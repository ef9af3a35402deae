package nats_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/go-chime/chime/broker/nats"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/channel/channeltest"
	"github.com/go-chime/chime/store"
)

// journal is a log that a test reads.
type journal struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) has(message string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Contains(j.text.String(), message)
}

// The client library drops what a node does not take in time. The node says so in its log, looks
// at its topics, and its members are sent what was dropped.
func TestANodeIsTooSlowForWhatIsAnnounced(t *testing.T) {
	t.Parallel()
	s, p := serve(t), prefix()
	var log journal
	slow := open(t, nats.Options{Server: s, Prefix: p, Log: slog.New(slog.NewTextHandler(&log, nil))})
	hub := channeltest.Open(t, channel.Config{Broker: slow, Log: quiet})
	hub.Channel("room:{id}", listeners{}, channel.History{Keep: 10})
	ann := hub.Join("room:1", nil)
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
	until(t, "the library drops something", func() bool { return log.has("announcements may be lost") })
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
