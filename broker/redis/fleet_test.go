package redis

import (
	"fmt"
	"strings"
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
