package doctor

import (
	"fmt"
	"sync"
	"time"

	"github.com/go-chime/chime/transport"
)

// watched is how long connections are watched: longer than the 60 s that many boxes allow.
const watched = 65 * time.Second

// life is what became of a connection that was watched.
type life struct {
	age   time.Duration
	quiet time.Duration // since something came last, at the end
	ended bool
}

// mute reports whether it is open, and yet nothing comes any more.
func (l life) mute(heartbeat time.Duration) bool { return !l.ended && l.quiet > heartbeat+patience }

func (l life) String() string {
	if l.ended {
		return fmt.Sprintf("ended after %s, %s after something had come", short(l.age), short(l.quiet))
	}
	return fmt.Sprintf("open after %s, something came %s before", short(l.age), short(l.quiet))
}

// watch has a quiet and a busy connection of each transport that works, and looks which of
// them is cut, when, and after how much silence.
func (x *exam) watch() {
	type pair struct {
		kind        string
		heartbeat   time.Duration
		proto       string
		quiet, busy life
		opened      bool
	}
	pairs := []*pair{{kind: transport.WebSocket}, {kind: transport.SSE}}
	var all sync.WaitGroup
	for _, p := range pairs {
		if !x.works(p.kind) {
			continue
		}
		quiet, busy := x.open(p.kind), x.open(p.kind)
		if quiet == nil || busy == nil {
			x.note(p.kind, "stays", "not known: it does not open again")
			continue
		}
		p.opened, p.proto = true, quiet.head.proto
		p.heartbeat = time.Duration(quiet.hello.payload.Heartbeat) * time.Millisecond
		all.Go(func() { p.quiet = quiet.live(0) })
		all.Go(func() { p.busy = busy.live(5 * time.Second) })
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		all.Wait()
	}()
	x.tick(done)
	for _, p := range pairs {
		if p.opened {
			x.note(p.kind, "quiet", "%s", p.quiet)
			x.note(p.kind, "busy", "%s", p.busy)
			x.judge(p.kind, p.proto, p.heartbeat, p.quiet, p.busy)
		}
	}
}

// tick tells how long it still takes.
func (x *exam) tick(done <-chan struct{}) {
	start := time.Now()
	for ticks := time.NewTicker(time.Second); ; {
		x.wait("whether connections stay: %s of %s", time.Since(start).Round(time.Second), watched)
		select {
		case <-done:
			ticks.Stop()
			return
		case <-ticks.C:
		}
	}
}

// live answers heartbeats, and sends a probe every so often; 0 is never.
func (c *conn) live(every time.Duration) (l life) {
	defer c.abort()
	end := c.opened.Add(watched)
	next := end
	if every > 0 {
		next = time.Now().Add(every)
	}
	for c.isOpen() && time.Now().Before(end) {
		f, ok := c.next(min(time.Until(next), time.Until(end)))
		switch {
		case ok && f.event == "heartbeat":
			c.say(ack)
		case !ok && every > 0 && !time.Now().Before(next):
			next = time.Now().Add(every)
			c.site.working.Go(func() { c.say(probe("busy")) }) // which may hang
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	at := time.Now()
	if l.ended = !c.ended.IsZero(); l.ended {
		at = c.ended
	}
	l.age, l.quiet = at.Sub(c.opened), at.Sub(c.heard)
	return l
}

// judge names what cuts connections.
func (x *exam) judge(kind, proto string, heartbeat time.Duration, quiet, busy life) {
	near := (quiet.age - busy.age).Abs() < 2*time.Second
	enough := "yes"
	switch {
	case quiet.mute(heartbeat) || busy.mute(heartbeat):
		enough = "no: nothing comes any more, whatever is sent"
		x.fault(halfOpen, "the last that %s carried came after %s, and nobody is told: address translation on the way forgets connections, which no proxy's setting cures; clients notice by themselves, and connect anew", article(kind), short(min(quiet.age-quiet.quiet, busy.age-busy.quiet)+1))
	case quiet.ended && !busy.ended:
		enough = fmt.Sprintf("no: a connection is cut after %s without anything", short(quiet.quiet))
		x.fault(cutByIdle, "%s is cut when nothing has come for %s: the server sends something every %s", article(kind), short(quiet.quiet), heartbeat)
	case quiet.ended && busy.ended && near && proto == "HTTP/2.0":
		x.fault(resetOfHTTP2, "%s on HTTP/2 is reset after %s, however much it carries", article(kind), short(busy.age))
	case quiet.ended && busy.ended && near:
		x.fault(cutByAge, "%s is cut after %s, however much it carries", article(kind), short(busy.age))
	case quiet.ended || busy.ended:
		x.fault(cutAtTimes, "%s is cut now and then: after %s and after %s", article(kind), short(quiet.age), short(busy.age))
	}
	x.note(kind, "heartbeat", "%s is enough: %s", heartbeat, enough)
}

// article is a connection of a transport in a sentence.
func article(kind string) string {
	if kind == transport.SSE {
		return "a stream"
	}
	return "a WebSocket"
}
