package redis

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/certtest"
	"github.com/go-chime/chime/internal/redistest"
	"github.com/go-chime/chime/store"
)

// A certificate that is not trusted is an error at once, and not after GiveUp.
func TestTLS(t *testing.T) {
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		a := certtest.NewAuthority(t)
		e := program.StartTLS(t, a, "--requirepass", "correct")
		url := strings.Replace(e.URL(), "//", "//:correct@", 1)
		b, w := began(t, url, Options{TLS: a.Client(t)}, "a")
		publish(t, b, "a", "1")
		w.wait(t, "a", 1)
		if page := read(t, b, "a", store.Range{}); texts(page) != "1\n" {
			t.Errorf("got %q", texts(page))
		}
		other := a.Client(t)
		other.RootCAs = certtest.NewAuthority(t).Trusts().RootCAs
		foreign := certtest.NewAuthority(t).Client(t)
		foreign.RootCAs = a.Trusts().RootCAs
		named := a.Client(t)
		named.ServerName = "redis.example.com"
		for _, c := range []struct {
			name, url string
			tls       *tls.Config
			want      string
		}{
			{"what the system trusts", url, nil, "certificate signed by unknown authority"},
			{"another authority", url, other, "certificate signed by unknown authority"},
			{"another name", url, named, "redis.example.com"},
			{"no certificate of the client", url, a.Trusts(), "tls: "},
			{"a certificate of another authority", url, foreign, "tls: "},
			{"a wrong password", strings.Replace(url, "correct", "hunter2", 1), a.Client(t), "WRONGPASS"},
		} {
			began := time.Now()
			b, err := Open(t.Context(), c.url, Options{TLS: c.tls, Prefix: fresh(), GiveUp: patience})
			if err == nil {
				_ = b.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, broker.ErrUnavailable) {
				t.Errorf("%s: got %v, want %q", c.name, err, c.want)
				continue
			}
			if took := time.Since(began); took > patience/2 {
				t.Errorf("%s: it took %v", c.name, took)
			}
			if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "correct") {
				t.Errorf("%s: the error has the password: %v", c.name, err)
			}
		}
	})
}
