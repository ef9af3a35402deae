package hostile_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-chime/chime/internal/raw"
)

// The attacker is a process of its own: this binary, which is told whom to attack. So it
// takes no memory from the server that it attacks, and no more of the processor than
// others leave it. It goes on until its input ends, and then says how often it struck.
const (
	attackHost = "CHIME_ATTACK_HOST"
	attackRate = "CHIME_ATTACK_RATE" // how many strikes of each kind a second, at most
)

// attackHands is how many strikes of a kind may be under way at once.
const attackHands = 2

// zeros are 256 KiB that are no batch.
var zeros = `{"first":1,"frames":[` + strings.TrimSuffix(strings.Repeat("0,", 130_000), ",") + `]}`

// strikes are the kinds of an attack. None needs to succeed.
var strikes = map[string]func(*hand){
	"batches that are none": func(h *hand) { h.ask(http.MethodPost, "/socket/poll", zeros, "Chime-Secret", h.own()) },
	"polls that do not wait": func(h *hand) {
		h.ask(http.MethodGet, "/socket/poll", "", "Chime-Secret", h.own(), "Chime-Received", "0", "Chime-Hold", "0")
	},
	"clients that poll": func(h *hand) { h.own(); h.leave() },
	"clients of Phoenix": func(h *hand) {
		const target = "/socket/longpoll?vsn=2.0.0"
		if token := found(phoenixToken, h.ask(http.MethodGet, target, "")); token != "" {
			h.ask(http.MethodPost, target, "x", "X-Phoenix-Longpoll-Token", token) // which ends it
			h.ask(http.MethodGet, target, "", "X-Phoenix-Longpoll-Token", token)
		}
	},
	"waits":         func(h *hand) { h.ask(http.MethodPost, "/socket/wait", `{"ids":["nobody"]}`) },
	"wrong secrets": func(h *hand) { h.ask(http.MethodPost, "/socket/sse", "{}", "Chime-Secret", "guess") },
	"foreign pages": func(h *hand) {
		h.ask(http.MethodGet, "/socket/sse?join=hall:1", "", "Origin", "https://evil.example")
	},
	"long heads": func(h *hand) {
		h.throw(strings.Replace(h.upgrade(), "?", "?pad="+strings.Repeat("x", 100_000)+"&", 1))
	},
	"half a message": func(h *hand) { h.throw(h.upgrade() + string(raw.Masked(raw.OpText, strings.Repeat("a", 60_000)))) },
	"joins": func(h *hand) {
		h.throw(h.upgrade() + strings.Repeat(string(raw.Masked(raw.Fin|raw.OpText, `["1","2","none:1","phx_join",{}]`)), 100))
	},
	"streams that are dropped": func(h *hand) {
		h.throw("GET /socket/sse?join=stream:1&last=50 HTTP/1.1\r\nHost: " + h.host + "\r\n\r\n")
	},
	"bodies that do not come": func(h *hand) {
		h.hold(fmt.Sprintf("POST /socket/sse HTTP/1.1\r\nHost: %s\r\nChime-Secret: %s\r\nContent-Length: 100000\r\n\r\n{", h.host, h.own()))
	},
}

// attack strikes until its input ends.
func attack(host string, rate int) {
	ctx, end := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		end()
	}()
	counts := map[string]*atomic.Int64{}
	var hands sync.WaitGroup
	for name, strike := range strikes {
		count := &atomic.Int64{}
		counts[name] = count
		for range attackHands {
			hands.Go(func() {
				h := &hand{host: host, web: &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}}
				defer h.leave()
				pace := time.NewTicker(attackHands * time.Second / time.Duration(rate))
				defer pace.Stop()
				for ctx.Err() == nil || count.Load() == 0 { // each kind comes, however busy the machine is
					strike(h)
					count.Add(1)
					select {
					case <-pace.C:
					case <-ctx.Done():
					}
				}
			})
		}
	}
	begun := time.Now()
	hands.Wait()
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		fmt.Printf("%s: %d, %.0f/s\n", name, counts[name].Load(), float64(counts[name].Load())/time.Since(begun).Seconds())
	}
}

// hand strikes, one time after the other.
type hand struct {
	host   string
	web    *http.Client
	secret string     // of a client socket of its own, which polls
	open   []net.Conn // on which something has begun
}

var (
	pollSecret   = regexp.MustCompile(`"secret":"([^"]+)"`)
	phoenixToken = regexp.MustCompile(`"token":"([^"]+)"`)
)

func found(what *regexp.Regexp, in string) string {
	if m := what.FindStringSubmatch(in); m != nil {
		return m[1]
	}
	return ""
}

// ask sends a request and returns what is answered. A hand whose client socket has
// ended opens another one.
func (h *hand) ask(method, target, body string, header ...string) string {
	r, err := http.NewRequest(method, "http://"+h.host+target, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := h.web.Do(r)
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusGone {
		h.secret = ""
	}
	text, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	return string(text)
}

// own is a secret that is good.
func (h *hand) own() string {
	if h.secret == "" {
		h.secret = found(pollSecret, h.ask(http.MethodGet, "/socket/poll", "", "Chime-Received", "0"))
	}
	return h.secret
}

// leave ends what has begun.
func (h *hand) leave() {
	for _, conn := range h.open {
		_ = conn.Close()
	}
	if h.secret != "" {
		h.ask(http.MethodPost, "/socket/bye", h.secret)
	}
	h.open, h.secret = nil, ""
}

func (h *hand) upgrade() string {
	return "GET " + raw.PhoenixTarget + " HTTP/1.1\r\nHost: " + h.host + "\r\n" + strings.Join(raw.UpgradeHeader, "\r\n") + "\r\n\r\n"
}

// throw sends bytes on a connection of its own, and drops it at the first line of an answer.
func (h *hand) throw(text string) {
	conn, err := net.Dial("tcp", h.host)
	if err != nil {
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	go func() { _, _ = io.WriteString(conn, text) }()
	_, _ = bufio.NewReader(conn).ReadString('\n')
}

// hold sends bytes, and keeps the connection, beside 49 others.
func (h *hand) hold(text string) {
	conn, err := net.Dial("tcp", h.host)
	if err != nil {
		return
	}
	_, _ = io.WriteString(conn, text)
	if h.open = append(h.open, conn); len(h.open) > 50 {
		_ = h.open[0].Close()
		h.open = h.open[1:]
	}
}

// rateOfAttack is what the attacker was told.
func rateOfAttack() int {
	rate, err := strconv.Atoi(os.Getenv(attackRate))
	if err != nil || rate <= 0 {
		panic(attackRate + ": want a number from 1")
	}
	return rate
}
