package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/go-chime/chime/internal/clientsocket"
	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/internal/task"
	"github.com/go-chime/chime/transport"
)

// maxHold is the longest that a poll is parked: proxies wait longer than that for an
// answer, and it is within the time of silence.
const maxHold = 20 * time.Second

// pollHeaders are those of a poll.
type pollHeaders struct {
	secret   string
	received uint64
	hold     time.Duration
}

// pollHeadersOf reads them.
func pollHeadersOf(r *http.Request) (h pollHeaders, err error) {
	h.secret = r.Header.Get(headerSecret)
	received := r.Header.Get(headerReceived)
	if h.received, err = strconv.ParseUint(received, 10, 64); err != nil {
		return h, fmt.Errorf("%s: %.40q: want a number, 0 to open a client socket", headerReceived, received)
	}
	h.hold, err = holdIn(r)
	return h, err
}

// holdIn is how long a request may be parked, which may ask for less than the most.
func holdIn(r *http.Request) (time.Duration, error) {
	hold := r.Header.Get(headerHold)
	if hold == "" {
		return maxHold, nil
	}
	ms, err := strconv.ParseUint(hold, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%s: %.40q: want a number of milliseconds", headerHold, hold)
	}
	return min(maxHold, time.Duration(ms)*time.Millisecond), nil
}

// polls are the requests of those that poll for what there is, in the chime dialect: each
// opens a client socket, resumes one, or goes on.
type polls struct {
	admission *admission
	others    *others
	entrance  *entrance
	limits    transport.Limits
	tasks     *task.Group
}

// ServePoll answers GET {mount}/poll: what there is to write to a client, as soon as
// there is something. A poll without a secret opens a client socket, one with the secret
// of another connection resumes it; both are answered with a hello.
func (s *Server) ServePoll(w http.ResponseWriter, r *http.Request) { s.polls.serve(w, r) }

func (ps *polls) serve(w http.ResponseWriter, r *http.Request) {
	if !ps.admission.origin(w, r) {
		return
	}
	head, err := pollHeadersOf(r)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	if ps.others.serve(w, r, head.secret) {
		return
	}
	former := ps.entrance.clients.Registry.Find(head.secret)
	if former == nil && head.secret != "" && !ps.entrance.clients.Registry.Draining() {
		ps.entrance.stats.Resumes.Add(stats.Unknown)
		refuse(w, http.StatusGone, clientsocket.ErrUnknown.Error())
		return
	}
	if polledLine(former, head.secret, false) != nil {
		if _, refused := ps.admission.post(r, head.secret); refused != nil {
			refuseWith(w, refused)
			return
		}
		var over bool
		if ps.tasks.Do(func() { over = !ps.goOn(w, r, former, head) }); !over {
			return
		}
	}
	from, refused := ps.admission.connection(r, stats.Chime, head.secret)
	if refused != nil {
		refuseWith(w, refused)
		return
	}
	ps.tasks.Do(func() { ps.open(w, r, from, head) })
}

// open gives the caller of a poll a connection, and answers with its hello.
func (ps *polls) open(w http.ResponseWriter, r *http.Request, from caller, head pollHeaders) {
	l, fresh := together[pollLine](from)
	l.polls = ps
	if head.secret == "" {
		head.received = 0
		if err := ps.entrance.enter(&l.conn, l, fresh, r, from); err != nil {
			code, reason := parting(err)
			respond(w, 1, l.Seal(l.Farewell(nil, code, reason, true), true))
			return
		}
	} else if !ps.entrance.resume(&l.conn, l, from) {
		ps.entrance.stats.Resumes.Add(stats.Unknown)
		refuse(w, http.StatusGone, clientsocket.ErrUnknown.Error())
		return
	}
	l.begin()
	p := clientsocket.NewPoll(head.received)
	l.conn.Attend(p)
	l.answer(w, r, p, head.hold, chimeReply{head.received})
}

// goOn answers a poll of a client socket that is polled. It reports false if that has
// ended in this moment: the client socket has to be resumed.
func (ps *polls) goOn(w http.ResponseWriter, r *http.Request, former *clientsocket.ClientSocket, head pollHeaders) bool {
	p := clientsocket.NewPoll(head.received)
	switch n, err := former.Poll(p, head.secret); {
	case errors.Is(err, clientsocket.ErrBeyond):
		refuse(w, http.StatusBadRequest, err.Error())
	case err != nil:
		refuse(w, http.StatusGone, err.Error())
	case n == nil:
		return false
	default:
		n.Line().(*pollLine).answer(w, r, p, head.hold, chimeReply{head.received})
	}
	return true
}

// replier writes the answers to a poll in the form of a dialect.
type replier interface {
	reply(w http.ResponseWriter, r *clientsocket.Reply)
	replaced(w http.ResponseWriter)
	over(w http.ResponseWriter)
}

// chimeReply is that of the chime dialect, for a client that has received so many frames.
type chimeReply struct{ received uint64 }

func (chimeReply) reply(w http.ResponseWriter, r *clientsocket.Reply) {
	respond(w, r.After+1, r.Frames)
}
func (c chimeReply) replaced(w http.ResponseWriter) { respond(w, c.received+1, nil) }
func (chimeReply) over(w http.ResponseWriter) {
	refuse(w, http.StatusGone, clientsocket.ErrUnknown.Error())
}

// answer answers p when there is something, or nothing for the time of its hold.
func (l *pollLine) answer(w http.ResponseWriter, r *http.Request, p *clientsocket.Poll, hold time.Duration, to replier) {
	rc := http.NewResponseController(w)
	hold = holdOf(r, rc, hold, l.polls.limits.StuckFor)
	timer := time.NewTimer(hold)
	defer timer.Stop()
	ended := r.Context().Done()
	for late := hold <= 0; ; {
		switch l.fetch(w, rc, p, late, to) {
		case clientsocket.Parked:
		case clientsocket.Replaced:
			to.replaced(w)
			return
		case clientsocket.Aborted:
			to.over(w)
			return
		case clientsocket.Answered:
			return
		}
		select {
		case <-p.Woken:
		case <-timer.C:
			late = true
		case <-ended:
			if !errors.Is(context.Cause(r.Context()), context.DeadlineExceeded) {
				l.conn.Leave(p)
				return
			}
			late, ended = true, nil // a Timeout middleware; the client is still there
		}
	}
}

var replies = sync.Pool{New: func() any { return new([]byte) }}

// fetch writes a reply with what there is, into a borrowed buffer: a poll that is parked
// has none.
func (l *pollLine) fetch(w http.ResponseWriter, rc *http.ResponseController, p *clientsocket.Poll, late bool, to replier) clientsocket.Fetched {
	buf := replies.Get().(*[]byte)
	defer replies.Put(buf)
	r := clientsocket.Reply{Frames: (*buf)[:0]}
	got := l.conn.Fetch(p, &r, late)
	if cap(r.Frames) <= maxReplyKept {
		*buf = r.Frames
	}
	if got == clientsocket.Answered {
		l.write(rc, func() { to.reply(w, &r) })
	}
	return got
}

// maxReplyKept is the largest buffer that is used again.
const maxReplyKept = 128 << 10

// respond writes a reply whose first counted frame has, or would have, a number. Frames
// have the end of the reply with them; nil is none.
func respond(w http.ResponseWriter, first uint64, frames []byte) {
	replyHeaders(w)
	head := append(make([]byte, 0, 48), `{"first":`...)
	head = append(strconv.AppendUint(head, first, 10), `,"frames":[`...)
	if frames == nil {
		frames = []byte("]}\n")
	}
	_, _ = w.Write(head)
	_, _ = w.Write(frames) // what is lost is given again
}

func replyHeaders(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store, no-transform")
	h.Set("Content-Encoding", "identity") // chi's Compress and its like
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
}

// holdOf is how long a poll may be parked, where a middleware or the http.Server may end
// the request before.
func holdOf(r *http.Request, rc *http.ResponseController, hold, stuckFor time.Duration) time.Duration {
	least := func(left time.Duration) { hold = min(hold, left-min(left/4, time.Second)) }
	if due, ok := r.Context().Deadline(); ok {
		least(time.Until(due))
	}
	if rc.SetWriteDeadline(time.Now().Add(hold+stuckFor)) != nil {
		if srv, ok := r.Context().Value(http.ServerContextKey).(*http.Server); ok && srv.WriteTimeout > 0 {
			least(srv.WriteTimeout)
		}
	}
	return hold
}
