package nats

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/go-chime/chime/broker"
)

// A node that was stopped, or had no connection, has not heard the others since it has heard
// nobody: else it would take all of them to be gone when it goes on, and Disconnect would ask
// nobody, and say that it is done.
func TestANodeThatWasStoppedTakesNobodyToBeGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var said strings.Builder
		n := &nodes{site: &site{id: "this", ctx: t.Context(), log: slog.New(slog.NewTextHandler(&said, nil))}, present: func() bool { return false }, began: time.Now()}
		hear := func(instance string) {
			body, err := json.Marshal(beat{Instance: instance, Node: broker.Node{ID: instance}})
			if err != nil {
				t.Fatal(err)
			}
			n.hear(&client.Msg{Data: body})
		}
		wantDead := func(want ...string) {
			t.Helper()
			if got := n.silent(); len(got) != len(want) || len(got) > 0 && got[0] != want[0] {
				t.Errorf("after %v: got %q to be gone, want %q", time.Since(n.began), got, want)
			}
		}
		hear("this")
		hear("other")
		time.Sleep(3 * deadAfter)
		wantDead() // the clock has gone on, and nothing was read
		hear("this")
		wantDead() // what the other one has said may still wait to be read
		if len(n.named()) != 1 {
			t.Error("the other node has no name any more")
		}
		for range deadAfter / beatEvery {
			time.Sleep(beatEvery)
			hear("this")
			wantDead()
		}
		time.Sleep(beatEvery)
		hear("this")
		if said.Len() > 0 {
			t.Errorf("the log says %q of those that are up, want nothing", &said)
		}
		wantDead("other")
		if !strings.Contains(said.String(), "is taken to be gone") || !strings.Contains(said.String(), "node=other") {
			t.Errorf("the log says %q, want that the other node is gone", &said)
		}
	})
}
