package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/redistest"
)

// aRedis is a server that is killed, and stops for a while.
type aRedis struct {
	t      *testing.T
	server *redistest.Server
	weak   bool // it syncs its file every second, and with a kill loses what comes last in that
}

func newRedis(t *testing.T) *aRedis {
	t.Helper()
	return &aRedis{t: t, server: redistest.Start(t)}
}

func newWeakRedis(t *testing.T) *aRedis {
	t.Helper()
	return &aRedis{t: t, server: redistest.Start(t, "--appendfsync", "everysec"), weak: true}
}

func (e *aRedis) addresses() []string             { return []string{e.server.Address()} }
func (e *aRedis) setup(ways []string) engineSetup { return engineSetup{Redis: "redis://" + ways[0]} }
func (e *aRedis) stop()                           { e.server.Stop(e.t) }
func (e *aRedis) goOn()                           { e.server.GoOn(e.t) }
func (e *aRedis) close()                          { e.server.Kill(e.t) }

func (e *aRedis) survives() broker.Survival {
	if e.weak {
		return broker.SurvivesNothing
	}
	return broker.SurvivesKill | broker.SurvivesPower
}

// hurt has the server killed, or stop for a while.
func (e *aRedis) hurt(w *processes, d *dice) {
	switch d.n(4) {
	case 0:
		w.away()
	case 1, 2:
		pause, loss := d.between(0, time.Second), d.size(30_000)
		w.befall(fmt.Sprintf("redis is killed for %v", pause), func() {
			e.server.Kill(e.t)
			if e.weak {
				e.lose(loss)
			}
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

// lose cuts the last bytes off what the server has written, as a machine that loses power does
// with what was not synced, and whatever is left of a transaction. Redis 7 and Valkey 8 leave that
// out when they start, and append behind it: the next start would bring half of it back.
func (e *aRedis) lose(bytes int) {
	files, err := filepath.Glob(filepath.Join(e.server.Dir, "appendonlydir", "*.incr.aof"))
	if err != nil || len(files) != 1 {
		e.t.Errorf("the files that redis appends to are %q, %v: want one", files, err)
		return
	}
	written, err := os.ReadFile(files[0])
	if err == nil {
		const exec = "\r\n*1\r\n$4\r\nEXEC\r\n"
		end := strings.LastIndex(string(written[:max(0, len(written)-bytes)]), exec)
		if end >= 0 {
			end += len(exec)
		}
		err = os.Truncate(files[0], int64(max(0, end)))
	}
	if err != nil {
		e.t.Error(err)
	}
}

func (e *aRedis) isWhole() error {
	_, err := e.server.Ask("PING")
	return err
}
