package hostile_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/internal/raw"
)

// All at once beside a room: nobody in it is ended or misses anything, and nothing of it
// is kept. With -v it prints how long a message took to each member, when it was quiet
// and beside the attack.
func TestAnAttackHarmsNobodyElseAndLeavesNothing(t *testing.T) {
	const members, messages, rounds, blockers = 200, 30, 60, 20
	s := raw.NewSite(t, chime.WithLogger(slog.New(slog.DiscardHandler))) // whose log is kept in memory
	room := make([]*raw.Socket, members)
	for i := range room {
		room[i] = s.Phoenix(t).Join("hall:1", fmt.Sprint("member", i))
	}
	said := 0
	deliver := func() (median, p99 time.Duration) {
		var took []time.Duration
		for range messages {
			begun := time.Now()
			if err := s.Live.Broadcast(t.Context(), "hall:1", "said", map[string]int{"n": said}); err != nil {
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
	quiet, quiet99 := deliver()
	slow := make([]*raw.Socket, blockers) // in another topic: their handlers do not return
	var left []raw.Departure
	for i := range slow {
		name := fmt.Sprint("blocks", i)
		slow[i] = s.Phoenix(t).Join("hall:2", name)
		left = append(left, raw.Left("hall:2", name, channel.Vanished))
	}
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	_, secret := s.Half(t)
	before := heap()
	zeros := `{"first":1,"frames":[` + strings.TrimSuffix(strings.Repeat("0,", 130_000), ",") + `]}`
	send := func(text string) { // on a connection of its own, whatever becomes of it
		conn, err := s.Dial()
		if err != nil {
			return
		}
		defer conn.Close()
		go func() { _, _ = io.WriteString(conn, text) }()
		_, _ = bufio.NewReader(conn).ReadString('\n')
	}
	request := func(line, header, body string) string {
		return fmt.Sprintf("%s HTTP/1.1\r\nHost: %s\r\n%sContent-Length: %d\r\n\r\n%s", line, s.Host, header, len(body), body)
	}
	upgrade := "GET " + raw.PhoenixTarget + " HTTP/1.1\r\nHost: " + s.Host + "\r\n" + strings.Join(raw.UpgradeHeader, "\r\n") + "\r\n\r\n"
	var attack sync.WaitGroup
	for range 2 {
		for _, text := range []string{
			request("POST /socket/sse", "Chime-Secret: "+secret+"\r\n", zeros),
			request("POST /socket/sse", "Chime-Secret: guess\r\n", "{}"),
			request("GET /socket/sse?join=hall:1", "Origin: https://evil.example\r\n", ""),
			upgrade + string(raw.Masked(raw.OpText, strings.Repeat("a", 60_000))),
			upgrade + strings.Repeat(string(raw.Masked(raw.Fin|raw.OpText, `["1","2","none:1","phx_join",{}]`)), 1000),
			strings.Replace(upgrade, "?", "?pad="+strings.Repeat("x", 100_000)+"&", 1),
		} {
			attack.Go(func() {
				for range rounds {
					send(text)
				}
			})
		}
	}
	for i, ws := range slow {
		ws.Text(`["1","2","hall:2","block",{}]`)
		for range 20 { // which wait in the inbox
			ws.Text(`["1",null,"hall:2","echo",{}]`)
		}
		s.Hall.WantBegun(t, fmt.Sprint("blocks", i))
	}
	attacked, attacked99 := deliver()
	t.Logf("a message took to a member, quiet: median %v, p99 %v; attacked: median %v, p99 %v: %.1f times",
		quiet, quiet99, attacked, attacked99, float64(attacked99)/float64(quiet99))
	attack.Wait()
	for _, ws := range slow {
		_ = ws.Conn.Close()
	}
	s.Hall.WantAllLeft(t, left...)
	s.Hall.WantNobodyLeft(t)
	s.Post(t, secret, `{"first":1,"frames":[]}`, "Connection: close").WantApplied(t, 0) // the client itself goes on
	const most = 8 << 20
	if after := heap(); after > before+most {
		t.Errorf("%d bytes are kept, want less than %d", after-before, most)
	}
}
