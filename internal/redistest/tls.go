package redistest

import (
	"testing"

	"github.com/go-chime/chime/internal/certtest"
)

// StartTLS is Start for a server that listens with TLS alone, with a certificate of a. It wants
// one of a from its clients, unless settings have --tls-auth-clients no.
func (p Program) StartTLS(t testing.TB, a *certtest.Authority, settings ...string) *Server {
	t.Helper()
	s := newServer(t, p)
	s.tls = a.Client(t)
	cert, key := a.Issue(t, s.Host)
	s.settings = append(s.common(), append([]string{
		"--port", "0", "--tls-port", s.Port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", a.File(t),
	}, settings...)...)
	return s.run(t)
}
