package redis

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/redistest"
	"github.com/go-chime/chime/store"
)

// shift has all nodes have been heard of earlier, or later, by so much: as if the engine
// had been away, or another one with another clock had taken over.
func shift(t *testing.T, e *redistest.Server, b *Broker, by time.Duration) {
	t.Helper()
	e.Must(t, "EVAL", `for i, v in ipairs(redis.call('HGETALL', KEYS[1])) do
		if i % 2 == 0 then
			local heard, self = string.match(v, '^(%d+) (.*)')
			redis.call('HSET', KEYS[1], redis.call('HGETALL', KEYS[1])[i - 1], string.format('%.0f', heard + ARGV[1]) .. ' ' .. self)
		end
	end`, "1", b.names.nodes(), fmt.Sprint(by.Microseconds()))
}

// Whoever is the first to come back must not take the others to be gone.
func TestAnEngineThatWasAwayHasNobodyLeave(t *testing.T) {
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		e := program.Start(t)
		prefix := fresh()
		one, seen, _ := peer(t, e.URL(), prefix, "one")
		two, others, _ := peer(t, e.URL(), prefix, "two")
		one.Present("a", joins("r1"))
		two.Present("a", joins("r2"))
		seen.until(t, "r1 r2")
		others.until(t, "r1 r2")
		up(t, one, "one two")
		// Once all beats of an outage, then clocks that are apart by minutes.
		for _, by := range []time.Duration{-2 * one.dead(), -10 * time.Minute, 10 * time.Minute} {
			shift(t, e, one, by)
			if nodes, err := one.Nodes(t.Context()); err != nil || len(nodes) != 2 {
				t.Errorf("shifted by %v: got nodes %v, %v, want both", by, nodes, err)
			}
			for _, b := range []*Broker{one, two, one, two} {
				if err := b.nodes.beat(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			up(t, two, "one two")
		}
		e.Kill(t)
		time.Sleep(2 * one.dead()) // which is what the test is about
		e.Begin(t)
		for _, b := range []*Broker{one, two} {
			redistest.Eventually(t, "the node hears again", func() bool { return b.Health(t.Context()) == nil })
		}
		up(t, one, "one two")
		one.Present("a", joins("r3"))
		others.until(t, "r1 r2 r3")
		two.Present("a", joins("r4"))
		seen.until(t, "r1 r2 r3 r4")
		if seen.left+others.left > 0 {
			t.Errorf("told of %d and %d leaves, want none", seen.left, others.left)
		}
	})
}

// After an engine was away, a node that has not come back is still found to be gone.
func TestANodeThatEndsWhileTheEngineIsAwayIsMissed(t *testing.T) {
	e := redistest.Start(t)
	prefix := fresh()
	one, seen, _ := peer(t, e.URL(), prefix, "one")
	two, _, _ := peer(t, e.URL(), prefix, "two")
	two.Present("a", joins("r2"))
	one.Present("a", joins("r1"))
	seen.until(t, "r1 r2")
	up(t, one, "one two")
	kill(two)
	shift(t, e, one, 10*time.Minute) // another one takes over, whose clock is behind
	seen.until(t, "r1")
	up(t, one, "one")
}

// A node that can't say who has left with it is left to the others.
func TestANodeThatCannotLeaveIsStillKnown(t *testing.T) {
	e := redistest.Start(t, "--appendfsync", "no")
	b, _, _ := peer(t, e.URL(), fresh(), "one")
	up(t, b, "one")
	e.Must(t, "SET", b.names.topics(b.id), "no set")
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if e.Must(t, "HEXISTS", b.names.nodes(), b.id) != "1" {
		t.Error("it is no longer known: nobody will look for who was present there")
	}
}

// What the one that takes over has not had of who is present it is told again.
func TestWhoIsPresentIsSaidAgain(t *testing.T) {
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		master := program.Start(t)
		replica := master.Replica(t)
		p := newProxy(t, master)
		prefix := fresh()
		one, _, _ := peer(t, p.url(), prefix, "one")
		one.Present("a", joins("r1"))
		listed := func(want int) func() bool {
			return func() bool {
				list, err := one.ListPresence(t.Context(), "a")
				return err == nil && len(list) == want
			}
		}
		redistest.Eventually(t, "r1 is listed", listed(1))
		replica.Synced(t, master)
		replica.Must(t, "REPLICAOF", "NO", "ONE") // it hears no more
		one.Present("a", broker.Change{Joins: joins("r2").Joins, Leaves: joins("r1").Joins})
		redistest.Eventually(t, "the master has r2 alone", func() bool {
			return master.Must(t, "HKEYS", one.names.present("a")) != "" && listed(1)() && master.Must(t, "HEXISTS", one.names.present("a"), "r2") == "1"
		})
		master.Kill(t)
		p.lead(replica)
		p.cut()
		redistest.Eventually(t, "the replica has r2 alone", func() bool {
			return replica.Must(t, "HEXISTS", one.names.present("a"), "r2") == "1" && replica.Must(t, "HEXISTS", one.names.present("a"), "r1") == "0"
		})
	})
}

// While an engine is away next to nothing is kept of those who come and go: it has not heard of
// them.
// Those whom it knows, or may know, leave when it is back, and nobody is in the topic then.
func TestWhoComesAndGoesWhileTheEngineIsAwayIsForgotten(t *testing.T) {
	e := redistest.Start(t)
	prefix := fresh()
	one, seen, _ := peer(t, e.URL(), prefix, "one")
	_, others, _ := peer(t, e.URL(), prefix, "two")
	one.Present("a", joins("r1"))
	others.until(t, "r1")
	e.Kill(t)
	for i := range 1000 {
		c := joins(fmt.Sprint("x", i))
		one.Present("a", c)
		one.Present("a", broker.Change{Leaves: c.Joins})
	}
	one.Present("a", broker.Change{Joins: joins("r2").Joins, Leaves: joins("r1").Joins})
	if n := one.here.remembers("a"); n < 2 || n > 20 { // each attempt may have told of some who had just come
		t.Errorf("%d are remembered, want r1, r2 and few others", n)
	}
	e.Begin(t)
	seen.until(t, "r2")
	others.until(t, "r2")
	one.Present("a", broker.Change{Joins: joins("r3").Joins, Leaves: joins("r2").Joins})
	one.Present("a", broker.Change{Leaves: joins("r3").Joins}) // before or after it is told, or meanwhile
	others.until(t, "")
	redistest.Eventually(t, "the node is in no topic", func() bool {
		return one.here.remembers("a") == 0 && e.Must(t, "SMEMBERS", one.names.topics(one.id)) == ""
	})
}

// remembers is how many the engine is to be told of.
func (p *presences) remembers(topic string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.topics[topic]
	if t == nil {
		return 0
	}
	return len(t.unsaved) + len(t.written)
}

// All who are present in a large topic are told in parts: Redis cuts a connection for which
// too much waits.
func TestPresenceIsToldInParts(t *testing.T) {
	e := redistest.Start(t, "--appendfsync", "no")
	prefix := fresh()
	one, _, _ := peer(t, e.URL(), prefix, "one")
	_, others, _ := peer(t, e.URL(), prefix, "two")
	var all broker.Change
	meta := fmt.Sprintf(`{"text":%q}`, strings.Repeat("x", 3000))
	const n = 1500
	p := newPresence()
	for i := range n {
		who := broker.Present{Key: "key", Ref: fmt.Sprint("r", i), Meta: []byte(meta)}
		all.Joins = append(all.Joins, who)
		p.refs[who.Ref], p.unsaved[who.Ref] = who, true
		p.unsaved[fmt.Sprint("left", i)] = true
	}
	for joins, leaves := 0, 0; joins+leaves < 2*n; {
		c := p.take()
		if size := len(pack(c)); len(c.Joins)+len(c.Leaves) > presentAtOnce || size > presentBytesAtOnce+2*len(meta) || len(c.Joins)+len(c.Leaves) == 0 {
			t.Fatalf("a part has %d joins, %d leaves, %d bytes", len(c.Joins), len(c.Leaves), size)
		}
		if joins += len(c.Joins); len(c.Leaves) > 0 && joins < n {
			t.Fatalf("%d leave before all have joined", len(c.Leaves))
		}
		leaves += len(c.Leaves)
	}
	one.Present("a", all)
	others.count(t, n)
	one.Present("a", broker.Change{Leaves: all.Joins, Joins: joins("last").Joins})
	others.until(t, "last")
	if len(others.strange) > 0 {
		t.Errorf("told of %.3q, want no one twice", others.strange)
	}
}

// What has aged is not read where nothing may be written, and all the rest is.
func TestReadsGoOnWhereNothingMayBeWritten(t *testing.T) {
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		e := program.Start(t, "--appendfsync", "no")
		b, _ := began(t, e.URL(), Options{GiveUp: time.Second})
		p := say("a", "aged")
		p.Key = "key"
		p.At = time.Now().Add(-time.Hour)
		for _, p := range []broker.Publication{p, say("a", "1"), say("a", "2")} {
			if _, err := b.Publish(t.Context(), p, &store.Retention{Age: 2 * time.Hour}); err != nil {
				t.Fatal(err)
			}
		}
		first := read(t, b, "a", store.Range{}).Messages[0].Offset
		e.Must(t, "HSET", b.names.keys("a")[1], "age", fmt.Sprint((30 * time.Minute).Microseconds()))
		e.Must(t, "CONFIG", "SET", "min-replicas-to-write", "1")
		if err := second(b.Publish(t.Context(), say("a", "x"), everything)); !errors.Is(err, broker.ErrUnavailable) || errors.Is(err, broker.ErrUncertain) {
			t.Errorf("publish without replicas: got %v, want %v", err, broker.ErrUnavailable)
		}
		for _, r := range []store.Range{{}, {Newest: true}, {Newest: true, Limit: 2}, {After: first}} {
			page := read(t, b, "a", r)
			if want := r.After == first; texts(page) != "1\n2\n" || page.Complete != want || page.More {
				t.Errorf("%+v: got %q, complete %t, more %t, want 1 and 2, complete %t", r, texts(page), page.Complete, page.More, want)
			}
		}
		e.Must(t, "CONFIG", "SET", "min-replicas-to-write", "0")
		if page := read(t, b, "a", store.Range{After: first}); texts(page) != "1\n2\n" || !page.Complete {
			t.Errorf("got %q, complete %t", texts(page), page.Complete)
		}
	})
}

// Many nodes that come back at one time are more than an engine takes: they wait.
func TestAnEngineThatHasTooManyClients(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		t.Parallel()
		e := program.Start(t, "--appendfsync", "no")
		conn, err := net.Dial("tcp", e.Address())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		answers := bufio.NewReader(conn)
		most := func(clients int) {
			t.Helper()
			if _, err := fmt.Fprintf(conn, "CONFIG SET maxclients %d\r\n", clients); err != nil {
				t.Fatal(err)
			}
			if line, err := answers.ReadString('\n'); line != "+OK\r\n" {
				t.Fatalf("got %q, %v", line, err)
			}
		}
		most(1)
		opened := make(chan error, 1)
		go func() {
			b, err := Open(context.Background(), e.URL(), Options{Prefix: fresh(), GiveUp: patience})
			if err == nil {
				err = b.Close()
			}
			opened <- err
		}()
		time.Sleep(100 * time.Millisecond) // it is refused meanwhile, and must not end
		select {
		case err := <-opened:
			t.Errorf("it has not waited: %v", err)
			return
		default:
		}
		most(1000)
		if err := <-opened; err != nil {
			t.Error(err)
		}
		if n := e.Info(t, "stats", "rejected_connections"); n == "0" {
			t.Error("nobody was refused: the test shows nothing")
		}
	})
}
