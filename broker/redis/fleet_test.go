package redis

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/brokertest"
	"github.com/go-chime/chime/store"
)

// fleet starts a Redis Cluster of three masters, one of which has a replica.
func fleet(t *testing.T) []*engine {
	t.Helper()
	var all []*engine
	var buses []string // by default 10,000 above the port, where the kernel gives ports away
	for range 4 {
		buses = append(buses, freePort(t))
		all = append(all, start(t, "--cluster-port", buses[len(buses)-1], "--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-replica-validity-factor", "0", "--appendfsync", "no"))
	}
	for i, slots := range []string{"0 5460", "5461 10922", "10923 16383"} {
		from, to, _ := strings.Cut(slots, " ")
		all[i].must(t, "CLUSTER", "ADDSLOTSRANGE", from, to)
		all[i].must(t, "CLUSTER", "SET-CONFIG-EPOCH", fmt.Sprint(i+1))
	}
	for _, e := range all[1:] {
		e.must(t, "CLUSTER", "MEET", "127.0.0.1", all[0].port, buses[0])
	}
	for _, e := range all {
		eventually(t, "the nodes of the Cluster know each other", func() bool {
			return strings.Contains(e.must(t, "CLUSTER", "INFO"), "cluster_known_nodes:4") && strings.Contains(e.must(t, "CLUSTER", "INFO"), "cluster_state:ok")
		})
	}
	_, id, _ := strings.Cut(all[0].must(t, "CLUSTER", "MYID"), "\r\n")
	all[3].must(t, "CLUSTER", "REPLICATE", strings.TrimSpace(id))
	eventually(t, "the replica follows", func() bool { return all[3].linked(t) })
	for _, e := range all {
		eventually(t, "all know of the replica", func() bool { return strings.Contains(e.must(t, "CLUSTER", "NODES"), "slave "+strings.TrimSpace(id)) })
	}
	return all
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); pause(t.Context(), 0) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// TestRedisCluster runs the suites over a Redis Cluster, and fails one of its masters over.
func TestRedisCluster(t *testing.T) {
	t.Parallel()
	all := fleet(t)
	url := all[1].url()
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
				nodes = append(nodes, open(t, all[i].url(), Options{Prefix: prefix}))
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
		all[3].synced(t, all[0])
		all[0].kill(t)
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
}

// TestSentinel has a master fail, and Sentinels name another one.
func TestSentinel(t *testing.T) {
	t.Parallel()
	master := start(t, "--appendfsync", "no")
	replica := start(t, "--appendfsync", "no", "--replicaof", "127.0.0.1 "+master.port)
	replica.synced(t, master)
	sentinel := guard(t, master)
	url := fmt.Sprintf("redis://%s?master_set=chime", net.JoinHostPort("127.0.0.1", sentinel.port))
	b, w := began(t, url, Options{GiveUp: patience, pace: 300 * time.Millisecond}, "a")
	first := publish(t, b, "a", "before")
	w.wait(t, "a", 1)
	replica.synced(t, master)
	master.kill(t)
	second := publish(t, b, "a", "after")
	if page := read(t, b, "a", store.Range{After: first}); !page.Complete || texts(page) != "after\n" || second <= first {
		t.Errorf("got %q, complete %t, want after", texts(page), page.Complete)
	}
	w.until(t, "it is announced or told", func() bool { return len(w.announced["a"]) > 1 || w.missed["a"] > 0 })
	if role := replica.must(t, "ROLE"); !strings.Contains(role, "master") {
		t.Errorf("the replica is %q", role)
	}
}
