package redis

import (
	"fmt"
	"strings"
	"testing"
	"time"

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

// A write may come so late that the node has left the topic, and hears nothing of it.
func TestWhoIsWrittenLateInATopicThatWasLeftIsTakenBack(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		t.Parallel()
		e := program.Start(t, "--appendfsync", "no")
		one, _, _ := peer(t, e.URL(), fresh(), "one")
		present := one.names.present("left")
		knows := func() bool { return e.Must(t, "HEXISTS", present, "r1") == "1" }
		c := joins("r1")
		one.Present("left", c)
		redistest.Eventually(t, "r1 is present", knows)
		one.Present("left", broker.Change{Leaves: c.Joins})
		redistest.Eventually(t, "r1 has left", func() bool { return !knows() })
		e.Must(t, "HSET", present, "r1", one.id+"\n"+pack(c))
		redistest.Eventually(t, "r1 is taken back", func() bool { return !knows() })
		redistest.Eventually(t, "the node is in one topic", func() bool {
			return e.Must(t, "SMEMBERS", one.names.topics(one.id)) == ""
		})
	})
}

// A node that can't say that it is in a topic no longer says so until it can.
func TestATopicThatWasLeftIsUnlistedInTheEnd(t *testing.T) {
	t.Parallel()
	e := redistest.Start(t, "--appendfsync", "no")
	one, _, _ := peer(t, e.URL(), fresh(), "one")
	listed := func() string { return e.Must(t, "SMEMBERS", one.names.topics(one.id)) }
	one.Present("left", joins("r1"))
	redistest.Eventually(t, "the topic is listed", func() bool { return listed() == "left" })
	e.Must(t, "ACL", "SETUSER", "default", "-srem")
	one.Present("left", broker.Change{Leaves: joins("r1").Joins})
	redistest.Eventually(t, "that is refused", func() bool {
		return strings.Contains(e.Info(t, "errorstats", "errorstat_NOPERM"), "count=")
	})
	e.Must(t, "ACL", "SETUSER", "default", "+srem")
	redistest.Eventually(t, "the topic is listed no longer", func() bool { return listed() == "" })
	redistest.Eventually(t, "nothing is kept of it", func() bool {
		one.here.mu.Lock()
		defer one.here.mu.Unlock()
		return one.here.topics["left"] == nil
	})
}

// An engine that has lost what it was told last may not know a node that has said again who is
// present on it, and has ended before it said that it is up.
func TestThoseOnANodeThatNobodyKnowsLeave(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		t.Parallel()
		e := program.Start(t, "--appendfsync", "no")
		prefix := fresh()
		p := newProxy(t, e)
		one, seen, heard := peer(t, p.url(), prefix, "one")
		up(t, one, "one")
		say := func(ref, node string) {
			t.Helper()
			c := joins(ref)
			if err := run(t.Context(), one.client, presentScript, []string{one.names.present("a")}, one.names.channel("a"), node, pack(c), "1",
				ref, node+"\n"+pack(c)).Error(); err != nil {
				t.Fatal(err)
			}
		}
		say("r1", "announced")
		seen.until(t, "r1")
		seen.until(t, "")
		e.Must(t, "HSET", one.names.present("a"), "r2", "read\n"+pack(joins("r2")))
		p.cut()
		heard.until(t, "it hears again", func() bool { return heard.missed["a"] > 0 })
		seen.until(t, "r2")
		seen.until(t, "")
		// The engine has lost of this one that it was up, which this node had heard.
		e.Must(t, "HSET", one.names.nodes(), "lost", fmt.Sprintf("%d {}", time.Now().UnixMicro()))
		if err := one.nodes.beat(t.Context()); err != nil {
			t.Fatal(err)
		}
		e.Must(t, "HDEL", one.names.nodes(), "lost")
		say("r3", "lost")
		seen.until(t, "r3")
		seen.until(t, "")
		redistest.Eventually(t, "they are known no longer", func() bool {
			return e.Must(t, "HKEYS", one.names.nodes()) == one.id && e.Must(t, "EXISTS", one.names.topics("announced"), one.names.topics("read")) == "0"
		})
	})
}

// A node that only others have made known says all anew.
func TestANodeThatOthersHaveKnownIsNotKnownYet(t *testing.T) {
	e := redistest.Start(t, "--appendfsync", "no")
	one, _, _ := peer(t, e.URL(), fresh(), "one")
	up(t, one, "one")
	if err := one.nodes.adopt(t.Context(), "other", map[string]bool{"a": true}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{false, true} {
		if r, err := one.nodes.list(t.Context(), "other", "{}"); err != nil || r.known != want {
			t.Errorf("got %+v, %v, want known %t", r, err, want)
		}
	}
}

// Before a node ends its clients have left, in as many topics as it has: it has a second for the rest.
func TestANodeThatEndsDoesNotGoThroughWhatWasLeft(t *testing.T) {
	t.Parallel()
	e := redistest.Start(t, "--appendfsync", "no")
	b := open(t, e.URL(), Options{}) // whose beats are seconds apart
	b.Start(newWatcher())
	b.StartPresence(func(string, broker.Change) {})
	const topics = 100
	for i := range topics {
		b.Present(fmt.Sprint("t", i), joins("r1"))
	}
	b.Present("stays", joins("r2"))
	listed := func() string { return e.Must(t, "SCARD", b.names.topics(b.id)) }
	redistest.Eventually(t, "all are listed", func() bool { return listed() == fmt.Sprint(topics+1) })
	for i := range topics {
		b.Present(fmt.Sprint("t", i), broker.Change{Leaves: joins("r1").Joins})
	}
	redistest.Eventually(t, "all have left", func() bool { return len(b.here.emptied()) == topics })
	scripts := func() (n int) {
		_, _ = fmt.Sscanf(e.Info(t, "commandstats", "cmdstat_evalsha"), "calls=%d", &n)
		return n
	}
	before := scripts()
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if n := scripts() - before; n > 5 {
		t.Errorf("%d scripts were run for the one topic in which somebody was", n)
	}
	if left := e.Must(t, "EXISTS", b.names.topics(b.id), b.names.nodes()); left != "0" || e.Must(t, "HEXISTS", b.names.present("stays"), "r2") != "0" {
		t.Errorf("%s keys of the node are left, or r2 is", left)
	}
}
