package redistest

import (
	"testing"

	"github.com/go-chime/chime/internal/need"
)

// Program is the path of redis-server or of valkey-server.
type Program string

// Each runs a test with each of the two programs.
func Each(t *testing.T, run func(t *testing.T, p Program)) {
	t.Helper()
	for _, name := range []string{"redis", "valkey"} {
		t.Run(name, func(t *testing.T) {
			if name == "valkey" {
				need.Unless(t, "CHIME_NO_VALKEY", "valkey-server")
			}
			run(t, Program(need.Program(t, name+"-server")))
		})
	}
}

// Start is the function of that name, for this program.
func (p Program) Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	s := newServer(t, p)
	s.settings = append(s.common(), settings...)
	return s.run(t)
}

// common is what all servers are told but Sentinels.
func (s *Server) common() []string {
	return []string{
		"--bind", s.Host, "--port", s.Port, "--dir", s.Dir, "--logfile", s.log(), "--save", "", "--appendonly", "yes", "--appendfsync", "always",
		"--repl-diskless-sync-delay", "0", "--replica-announce-ip", s.Host,
	}
}
