package redistest

import (
	"fmt"
	"net"
	"strings"
	"testing"
)

// Fleet starts a Redis Cluster of three masters, the first of which has a replica: the last
// of what it returns.
func (p Program) Fleet(t testing.TB, settings ...string) []*Server {
	t.Helper()
	var all []*Server
	var buses []string // by default 10,000 above the port, which may be no port
	for range 4 {
		s := newServer(t, p)
		_, bus := free(t, net.JoinHostPort(s.Host, "0"))
		s.settings = append(s.common(), append([]string{
			"--appendfsync", "no", "--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-announce-ip", s.Host,
			"--cluster-node-timeout", "1000", "--cluster-replica-validity-factor", "0",
		}, settings...)...)
		all, buses = append(all, s.run(t)), append(buses, bus)
	}
	for i, slots := range []string{"0 5460", "5461 10922", "10923 16383"} {
		from, to, _ := strings.Cut(slots, " ")
		all[i].Must(t, "CLUSTER", "ADDSLOTSRANGE", from, to)
		all[i].Must(t, "CLUSTER", "SET-CONFIG-EPOCH", fmt.Sprint(i+1))
	}
	for _, s := range all[1:] {
		s.Must(t, "CLUSTER", "MEET", all[0].Host, all[0].Port, buses[0])
	}
	for _, s := range all {
		Eventually(t, "the nodes of the Cluster know each other", func() bool {
			info := s.Must(t, "CLUSTER", "INFO")
			return strings.Contains(info, "cluster_known_nodes:4") && strings.Contains(info, "cluster_state:ok")
		})
	}
	first := all[0].Must(t, "CLUSTER", "MYID")
	all[3].Must(t, "CLUSTER", "REPLICATE", first)
	Eventually(t, "the replica follows", func() bool { return all[3].Linked(t) })
	for _, s := range all {
		Eventually(t, "all know of the replica", func() bool { return strings.Contains(s.Must(t, "CLUSTER", "NODES"), "slave "+first) })
	}
	return all
}
