package redistest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Replica starts a server that follows another.
func (s *Server) Replica(t testing.TB, settings ...string) *Server {
	t.Helper()
	return s.program.Start(t, append(settings, "--replicaof", s.Host+" "+s.Port)...)
}

// Linked reports whether a replica hears its master.
func (s *Server) Linked(t testing.TB) bool {
	t.Helper()
	return s.Info(t, "replication", "master_link_status") == "up"
}

// Synced returns when a replica has all that its master has.
func (s *Server) Synced(t testing.TB, master *Server) {
	t.Helper()
	const offset = "master_repl_offset"
	Eventually(t, "the replica has all", func() bool {
		return s.Linked(t) && s.Info(t, "replication", offset) == master.Info(t, "replication", offset)
	})
}

// Guard starts a Sentinel, which by itself decides that s has failed. It calls it by a name.
func (s *Server) Guard(t testing.TB, name string) *Server {
	t.Helper()
	g := newServer(t, s.program)
	file := filepath.Join(g.Dir, "sentinel.conf")
	text := fmt.Sprintf("port %s\nbind %s\ndir %s\nlogfile %s\nsentinel monitor %s %s %s 1\n"+
		"sentinel down-after-milliseconds %[5]s 500\nsentinel failover-timeout %[5]s 2000\n", g.Port, g.Host, g.Dir, g.log(), name, s.Host, s.Port)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	g.settings = []string{file, "--sentinel"}
	g.run(t)
	Eventually(t, "the Sentinel knows the replica", func() bool { return strings.Contains(g.Must(t, "INFO", "sentinel"), "slaves=1") })
	return g
}
