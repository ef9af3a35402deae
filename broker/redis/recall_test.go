package redis

import (
	"testing"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/redistest"
)

// What an engine has lost may be that somebody left a topic in which nobody is any more on that
// node, which hears nothing of it.
func TestWhoHasLeftATopicIsNotPresentAgain(t *testing.T) {
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		master := program.Start(t)
		replica := master.Replica(t)
		p := newProxy(t, master)
		one, _, _ := peer(t, p.url(), fresh(), "one")
		knows := func(e *redistest.Server) bool {
			return e.Must(t, "HEXISTS", one.names.present("left"), "r1") == "1"
		}
		one.Present("left", joins("r1"))
		redistest.Eventually(t, "the master knows r1", func() bool { return knows(master) })
		replica.Synced(t, master)
		replica.Must(t, "REPLICAOF", "NO", "ONE") // it hears no more
		one.Present("left", broker.Change{Leaves: joins("r1").Joins})
		redistest.Eventually(t, "the master has nobody", func() bool { return !knows(master) })
		if !knows(replica) {
			t.Fatal("the replica knows that r1 has left")
		}
		master.Kill(t)
		p.lead(replica)
		p.cut()
		redistest.Eventually(t, "the replica has nobody", func() bool { return !knows(replica) })
	})
}
