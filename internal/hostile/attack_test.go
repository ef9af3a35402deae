package hostile_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/internal/raw"
)

// scale is how long a room talks, quiet and attacked, and how often each kind of strike
// comes in a second.
type scale struct {
	messages, rate int
	bounded        bool
}

// scaleOf is short, unless CHIME_ATTACK says how long the room talks.
func scaleOf(t *testing.T) scale {
	t.Helper()
	given := os.Getenv("CHIME_ATTACK")
	if given == "" {
		return scale{messages: 20, rate: 50}
	}
	lasts, err := time.ParseDuration(given)
	if err != nil || lasts < time.Second {
		t.Fatalf("CHIME_ATTACK: %q: want a duration from 1s, such as 20s", given)
	}
	return scale{messages: int(lasts / talkPause), rate: 50, bounded: true}
}

const talkPause = time.Second / 20 // between two messages of the room

// A room with a history that anybody may read, beside the hall.
type publicRoom struct{ channel.AnyoneMayJoin }

func (publicRoom) HandleMessage(context.Context, *channel.Socket, channel.Message) (any, error) {
	return nil, channel.Refuse("read only")
}

func (publicRoom) HandleLeave(context.Context, *channel.Socket, channel.Reason) {}

// All kinds of strikes at once, from another process, beside a room that talks: nobody in
// it is ended or misses anything, and nothing of the attack is kept. With -v it prints how
// long a message took to each member, when it was quiet and beside the attack; in the long
// form (CHIME_ATTACK=20s) 99 of a hundred take at most three times as long.
func TestAnAttackHarmsNobodyElseAndLeavesNothing(t *testing.T) {
	const members, blockers = 200, 20
	scale := scaleOf(t)
	s, live := raw.NewRouter(t, chime.WithLogger(slog.New(slog.DiscardHandler))) // whose log is kept in memory
	live.Channel("stream:{id}", publicRoom{}, channel.History{Keep: 50, Replay: 50})
	app := chi.NewRouter()
	app.Mount("/socket", live)
	s.Serve(t, app)
	t.Cleanup(s.EndSoon)
	for n := range 50 {
		if err := live.Broadcast(t.Context(), "stream:1", "said", map[string]int{"n": n}); err != nil {
			t.Fatal(err)
		}
	}
	room := make([]*raw.Socket, members)
	for i := range room {
		room[i] = s.Phoenix(t).Join("hall:1", fmt.Sprint("member", i))
	}
	said := 0
	talk := func() (median, p99 time.Duration) {
		var took []time.Duration
		pace := time.NewTicker(talkPause)
		defer pace.Stop()
		for range scale.messages {
			<-pace.C
			begun := time.Now()
			if err := live.Broadcast(t.Context(), "hall:1", "said", map[string]int{"n": said}); err != nil {
				t.Fatal(err)
			}
			for _, ws := range room {
				ws.Want(fmt.Sprintf(`[null,null,"hall:1","said",{"n":%d}]`, said))
				took = append(took, time.Since(begun))
			}
			said++
		}
		slices.Sort(took)
		return took[len(took)/2], took[len(took)*99/100]
	}
	quiet, quiet99 := talk()
	slow := make([]*raw.Socket, blockers) // in another topic: their handlers do not return
	var left []raw.Departure
	for i := range slow {
		name := fmt.Sprint("blocks", i)
		slow[i] = s.Phoenix(t).Join("hall:2", name)
		left = append(left, raw.Left("hall:2", name, channel.Vanished))
	}
	before := heap()
	stop := attackFrom(t, s.Host, scale.rate)
	for i, ws := range slow {
		ws.Text(`["1","2","hall:2","block",{}]`)
		for range 20 { // which wait in the inbox
			ws.Text(`["1",null,"hall:2","echo",{}]`)
		}
		s.Hall.WantBegun(t, fmt.Sprint("blocks", i))
	}
	attacked, attacked99 := talk()
	times := float64(attacked99) / float64(quiet99)
	during := stop()
	t.Logf("a message took to a member, quiet: median %v, p99 %v; attacked: median %v, p99 %v: %.1f times; heap %d KiB before, %d KiB at the end of:\n%s",
		quiet, quiet99, attacked, attacked99, times, before>>10, heap()>>10, during)
	if scale.bounded && times > 3 {
		t.Errorf("of a hundred messages one took %.1f times as long as when it was quiet, want at most 3", times)
	}
	if refusals(live, "origin") == 0 {
		t.Error("no foreign page was refused: there was no attack")
	}
	close(s.Hall.Release) // or each would be waited for, 5 s
	for _, ws := range slow {
		_ = ws.Conn.Close()
	}
	s.Hall.WantAllLeft(t, left...)
	s.Hall.WantNobodyLeft(t)
	const most = 8 << 20
	if after := heap(); after > before+most {
		t.Errorf("%d bytes are kept, want less than %d", after-before, most)
	}
}

// heap is what is in use.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// attackFrom has another process attack host, which others come before where a process can
// be told so. Stop ends that, and returns what it did.
func attackFrom(t *testing.T, host string, rate int) (stop func() string) {
	t.Helper()
	args := []string{os.Args[0]}
	if nice, err := exec.LookPath("nice"); err == nil {
		args = []string{nice, "-n", "19", os.Args[0]}
	}
	attacker := exec.CommandContext(t.Context(), args[0], args[1:]...)
	attacker.Env = append(os.Environ(), attackHost+"="+host, fmt.Sprintf("%s=%d", attackRate, rate))
	attacker.Stderr = os.Stderr
	var output strings.Builder
	attacker.Stdout = &output
	until, err := attacker.StdinPipe()
	if err == nil {
		err = attacker.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() string {
		_, _ = io.WriteString(until, "stop")
		_ = until.Close()
		if err := attacker.Wait(); err != nil {
			t.Errorf("the attacker: %v", err)
		}
		return output.String()
	}
}
