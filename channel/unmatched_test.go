package channel

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-chime/chime/internal/wire"
)

// A topic that no pattern matches is a mistake in a page or in a pattern: the log names
// it once, with the pattern that it comes nearest to, however often it is joined; and
// somebody who makes up topics fills neither log nor memory.
func TestATopicWithoutAChannelIsNamedOnce(t *testing.T) {
	var log bytes.Buffer
	h := NewHub(Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
	h.Channel("chat_room:{id}", open{})
	r := h.Accept(&sink{id: "client-1", got: new(atomic.Int64)})
	join := func(topic string) {
		r.Receive(wire.Frame{JoinRef: wire.RefOf("1"), Ref: wire.RefOf("1"), Topic: topic, Event: wire.EventJoin, Payload: []byte("{}")})
	}
	for range 3 {
		join("chatroom:42")
	}
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "level=INFO") ||
		!strings.Contains(got, "topic=chatroom:42 nearest=chat_room:{id}") {
		t.Errorf("got the log %q, want one line at Info with the topic and the nearest pattern", got)
	}
	log.Reset()
	for i := range 500 {
		join(fmt.Sprint("made up ", i))
	}
	if got := strings.Count(log.String(), "\n"); got != 63 {
		t.Errorf("500 topics: got %d lines, want 63, since 64 topics are remembered", got)
	}
	r.Closed(Closed)
	if err := h.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}
