package redis

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/certtest"
	"github.com/go-chime/chime/internal/redistest"
	"github.com/go-chime/chime/store"
)

// TLS on one side only is an error at once, and says so.
func TestTLSOnOneSideIsSaid(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		t.Parallel()
		a := certtest.NewAuthority(t)
		plain, secured := program.Start(t, "--appendfsync", "no"), program.StartTLS(t, a)
		for url, want := range map[string]string{
			strings.Replace(plain.URL(), "redis:", "rediss:", 1):   "want redis:// in place of rediss://",
			strings.Replace(secured.URL(), "rediss:", "redis:", 1): "want rediss:// in place of redis://",
		} {
			began := time.Now()
			b, err := Open(t.Context(), url, Options{Prefix: fresh(), TLS: a.Client(t), GiveUp: patience})
			if err == nil {
				_ = b.Close()
			}
			if err == nil || !strings.Contains(err.Error(), want) || errors.Is(err, broker.ErrUnavailable) {
				t.Errorf("%s: got %v, want %q", url, err, want)
			}
			if took := time.Since(began); took > patience/2 {
				t.Errorf("%s: it took %v", url, took)
			}
		}
	})
}

// A connection that is ended before it is one has sent no command: its outcome is known.
func TestWhatWasNotSentIsNotUncertain(t *testing.T) {
	t.Parallel()
	e := redistest.Start(t, "--appendfsync", "no")
	p := newProxy(t, e)
	b, _ := began(t, p.url(), Options{GiveUp: 100 * time.Millisecond}, "a")
	publish(t, b, "a", "1")
	p.refuse(true)
	p.cut()
	redistest.Eventually(t, "the connection has ended", func() bool { return b.Health(t.Context()) != nil })
	for name, keep := range map[string]*store.Retention{"retained": everything, "ephemeral": nil} {
		err := broker.ErrUncertain
		for tries := 0; tries < 10 && errors.Is(err, broker.ErrUncertain); tries++ { // as the first that is sent on what was cut, or was under way at its end
			err = second(b.Publish(t.Context(), say("a", "x"), keep))
		}
		if !errors.Is(err, broker.ErrUnavailable) || errors.Is(err, broker.ErrUncertain) {
			t.Errorf("%s: got %v, want %v", name, err, broker.ErrUnavailable)
		}
	}
}
