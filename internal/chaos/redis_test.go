package chaos

import (
	"fmt"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/redistest"
)

// aRedis is a server that is killed, and stops for a while.
type aRedis struct {
	t      *testing.T
	server *redistest.Server
}

func newRedis(t *testing.T) *aRedis {
	t.Helper()
	return &aRedis{t, redistest.Start(t)}
}

func (e *aRedis) addresses() []string             { return []string{e.server.Address()} }
func (e *aRedis) setup(ways []string) engineSetup { return engineSetup{Redis: "redis://" + ways[0]} }
func (e *aRedis) survives() broker.Survival       { return broker.SurvivesKill }
func (e *aRedis) stop()                           { e.server.Stop(e.t) }
func (e *aRedis) goOn()                           { e.server.GoOn(e.t) }
func (e *aRedis) close()                          { e.server.Kill(e.t) }

// hurt has the server killed, or stop for a while.
func (e *aRedis) hurt(w *processes, d *dice) {
	switch d.n(4) {
	case 0:
		w.away()
	case 1, 2:
		pause := d.between(0, time.Second)
		w.befall(fmt.Sprintf("redis is killed for %v", pause), func() {
			e.server.Kill(e.t)
			time.Sleep(pause)
			e.server.Begin(e.t)
		})
	case 3:
		pause := d.between(100*time.Millisecond, 2*time.Second)
		w.befall(fmt.Sprintf("redis stops for %v", pause), func() {
			e.stop()
			time.Sleep(pause)
			e.goOn()
		})
	}
}

func (e *aRedis) isWhole() error {
	_, err := e.server.Ask("PING")
	return err
}
