package redis

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/brokertest"
	"github.com/go-chime/chime/internal/redistest"
	"github.com/go-chime/chime/store"
)

// TestRedisCluster runs the suites over a Redis Cluster, and fails one of its masters over.
func TestRedisCluster(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		t.Parallel()
		all := program.Fleet(t)
		url := all[1].URL()
		t.Run("suite", func(t *testing.T) {
			brokertest.Run(t, func(t *testing.T) broker.Broker {
				b := open(t, url, Options{})
				if !b.cluster || b.Caps().Survives != broker.SurvivesNothing {
					t.Errorf("cluster %t, survives %v", b.cluster, b.Caps().Survives)
				}
				return b
			})
		})
		t.Run("nodes", func(t *testing.T) {
			brokertest.RunCluster(t, func(t *testing.T, n int) []broker.Broker {
				prefix := fresh()
				var nodes []broker.Broker
				for i := range n {
					nodes = append(nodes, open(t, all[i].URL(), Options{Prefix: prefix}))
				}
				return nodes
			})
		})
		t.Run("a slot moves", func(t *testing.T) { aSlotMoves(t, all) })
		t.Run("fail-over", func(t *testing.T) {
			var topics []string
			for i := range 30 { // on each of the masters some
				topics = append(topics, fmt.Sprint("topic ", i))
			}
			b, w := began(t, url, Options{GiveUp: patience, pace: 300 * time.Millisecond}, topics...)
			for _, topic := range topics {
				publish(t, b, topic, "before")
			}
			for _, topic := range topics {
				w.wait(t, topic, 1)
			}
			all[3].Synced(t, all[0])
			all[0].Kill(t)
			for _, topic := range topics {
				publish(t, b, topic, "after")
			}
			for _, topic := range topics {
				if page := read(t, b, topic, store.Range{}); texts(page) != "before\nafter\n" || !page.Complete {
					t.Errorf("%s: got %q, complete %t", topic, texts(page), page.Complete)
				}
				w.until(t, topic+" is announced or told", func() bool { return len(w.announced[topic]) > 1 || w.missed[topic] > 0 })
			}
			tops, err := b.History().(broker.Tops).Tops(t.Context(), topics)
			if err != nil || len(tops) != len(topics) || tops[0].Offset == 0 {
				t.Errorf("tops: got %v, %v", tops, err)
			}
		})
	})
}

// TestSentinel has a master fail, and Sentinels name another one.
func TestSentinel(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		t.Parallel()
		master := program.Start(t, "--appendfsync", "no")
		replica := master.Replica(t, "--appendfsync", "no")
		replica.Synced(t, master)
		sentinel := master.Guard(t, "chime")
		url := fmt.Sprintf("redis://%s?master_set=chime", sentinel.Address())
		b, w := began(t, url, Options{GiveUp: patience, pace: 300 * time.Millisecond}, "a")
		first := publish(t, b, "a", "before")
		w.wait(t, "a", 1)
		replica.Synced(t, master)
		master.Kill(t)
		second := publish(t, b, "a", "after")
		if page := read(t, b, "a", store.Range{After: first}); !page.Complete || texts(page) != "after\n" || second <= first {
			t.Errorf("got %q, complete %t, want after", texts(page), page.Complete)
		}
		w.until(t, "it is announced or told", func() bool { return len(w.announced["a"]) > 1 || w.missed["a"] > 0 })
		if role := replica.Must(t, "ROLE"); !strings.Contains(role, "master") {
			t.Errorf("the replica is %q", role)
		}
	})
}

// aSlotMoves moves a topic from one master to another, and back, while others publish in it. A
// script waits while some of its keys are on either.
func aSlotMoves(t *testing.T, all []*redistest.Server) {
	b, w := began(t, all[1].URL(), Options{GiveUp: patience, pace: 300 * time.Millisecond}, "a")
	publish(t, b, "a", "first")
	slot := all[0].Must(t, "CLUSTER", "KEYSLOT", b.names.keys("a")[0])
	keys := func(e *redistest.Server) []string {
		return strings.Fields(e.Must(t, "CLUSTER", "GETKEYSINSLOT", slot, "100"))
	}
	from, to := 0, 1
	for len(keys(all[from])) == 0 {
		from, to = from+1, (from+2)%3
	}
	var wg sync.WaitGroup
	done := make(chan struct{})
	said := make([]int, 4)
	for i := range said {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := second(b.Publish(t.Context(), say("a", fmt.Sprint(i, ".", said[i])), everything)); err != nil {
					t.Errorf("publish: %v", err)
					return
				}
				said[i]++
			}
		})
	}
	for range 2 {
		source, target := all[from], all[to]
		id := target.Must(t, "CLUSTER", "MYID")
		target.Must(t, "CLUSTER", "SETSLOT", slot, "IMPORTING", source.Must(t, "CLUSTER", "MYID"))
		source.Must(t, "CLUSTER", "SETSLOT", slot, "MIGRATING", id)
		for list := keys(source); len(list) > 0; list = keys(source) {
			source.Must(t, "MIGRATE", target.Host, target.Port, list[0], "0", "5000") // one at a time, so that they are apart for a while
		}
		for _, e := range []*redistest.Server{target, source, all[3-from-to]} {
			e.Must(t, "CLUSTER", "SETSLOT", slot, "NODE", id)
		}
		from, to = to, from
	}
	close(done)
	wg.Wait()
	page := read(t, b, "a", store.Range{})
	seen, prev, want := map[string]bool{}, uint64(0), 1
	for _, m := range page.Messages {
		if seen[string(m.Payload)] || m.Prev != prev {
			t.Errorf("%q at %d behind %d: want it once, behind %d", m.Payload, m.Offset, m.Prev, prev)
		}
		seen[string(m.Payload)], prev = true, m.Offset
	}
	for _, n := range said {
		want += n
	}
	if len(seen) != want || !page.Complete {
		t.Errorf("%d messages are there, complete %t, want %d", len(seen), page.Complete, want)
	}
	last := publish(t, b, "a", "last")
	w.until(t, "announcements go on, or it is told", func() bool {
		list := w.announced["a"]
		return len(list) > 0 && list[len(list)-1].Offset == last || w.missed["a"] > 0
	})
}
