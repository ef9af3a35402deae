package server

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-chime/chime/internal/clientsocket"
	"github.com/go-chime/chime/internal/dialect"
	"github.com/go-chime/chime/internal/wire"
)

// Long-polling of Phoenix: the status of each answer is in its JSON, and a token stands
// for the client socket. Ours names what the reply held it came with, so that the next
// poll acknowledges that reply, and one that was lost is given again.

// phoenixHold is the window of Phoenix; phoenix.js gives up after 20 s.
const phoenixHold = 10 * time.Second

var errTooLarge = errors.New("frame is larger than a message may be")

const headerPollToken = "X-Phoenix-Longpoll-Token"

// Statuses of Phoenix's answers.
const (
	phoenixOK        = 200
	phoenixNothing   = 204
	phoenixMalformed = 400
	phoenixRefused   = 403 // the client stays away
	phoenixOpened    = 410 // to a POST: the client socket is over
	phoenixLater     = 500 // the client connects anew
)

// pollToken is what a client shows: a secret, and how many frames it has.
type pollToken struct {
	secret   string
	received uint64
}

func (k pollToken) String() string { return k.secret + "." + strconv.FormatUint(k.received, 10) }

// pollTokenOf reads the token of a request, or none.
func pollTokenOf(r *http.Request) (k pollToken) {
	text := r.Header.Get(headerPollToken)
	if text == "" {
		text = r.URL.Query().Get("token")
	}
	secret, number, _ := strings.Cut(text, ".")
	received, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return pollToken{}
	}
	return pollToken{secret, received}
}

// phoenixPolls are the requests of Phoenix's clients that poll.
type phoenixPolls struct {
	polls   *polls
	uploads *uploads
	bodies  *bodies
	log     *slog.Logger
}

// ServeLongPoll answers GET {mount}/longpoll.
func (s *Server) ServeLongPoll(w http.ResponseWriter, r *http.Request) { s.phoenix.serve(w, r) }

func (ps *phoenixPolls) serve(w http.ResponseWriter, r *http.Request) {
	if !ps.polls.admission.origin(w, r) {
		return
	}
	d, reason := dialect.Of(r)
	if reason != "" || d == &dialect.Chime {
		ps.log.Debug("poll refused", "reason", reason)
		phoenixAnswer(w, phoenixRefused)
		return
	}
	token := pollTokenOf(r)
	if ps.polls.others.serve(w, r, token.secret) {
		return
	}
	c := ps.polls.entrance.clients.Registry.Find(token.secret)
	if c == nil && token.secret != "" {
		phoenixReply{}.over(w)
		return
	}
	if c == nil {
		from, refused := ps.polls.admission.connection(r, d.Counted, "")
		if refused != nil {
			phoenixRefuse(w, refused)
			return
		}
		ps.polls.tasks.Do(func() { ps.open(w, r, d, from) })
		return
	}
	if _, refused := ps.polls.admission.post(r, token.secret); refused != nil {
		phoenixRefuse(w, refused)
		return
	}
	l := polledLine(c, token.secret, true)
	if l == nil {
		phoenixReply{}.over(w)
		return
	}
	ps.polls.tasks.Do(func() {
		p := clientsocket.NewPoll(token.received)
		if n, err := c.Poll(p, token.secret); err != nil || n != &l.conn {
			phoenixReply{}.over(w)
			return
		}
		l.answer(w, r, p, phoenixHold, phoenixReply{token})
	})
}

// open opens a client socket, and answers with its token.
func (ps *phoenixPolls) open(w http.ResponseWriter, r *http.Request, d *dialect.Dialect, from caller) {
	l, fresh := together[pollLine](from)
	l.polls, l.dialect = ps.polls, d
	if err := ps.polls.entrance.enter(&l.conn, l, fresh, r, from); err != nil {
		phoenixAnswer(w, phoenixLater)
		return
	}
	l.begin()
	phoenixMessages(w, phoenixOpened, pollToken{secret: l.conn.Secret()}.String(), nil)
}

// ServeLongPollPost answers POST {mount}/longpoll: frames of the client, a line each if
// that is their type, of which the first Limits.BatchMessages are taken. The token says
// whose it is: what WithConnect looks for may be in the polls alone, as the authToken of
// phoenix.js is.
func (s *Server) ServeLongPollPost(w http.ResponseWriter, r *http.Request) { s.phoenix.post(w, r) }

func (ps *phoenixPolls) post(w http.ResponseWriter, r *http.Request) {
	body := ps.bodies.bound(w, r)
	defer body.done()
	if !ps.polls.admission.origin(w, r) {
		return
	}
	token := pollTokenOf(r)
	if ps.polls.others.serve(w, r, token.secret) {
		return
	}
	c := ps.polls.entrance.clients.Registry.Find(token.secret)
	if c == nil {
		phoenixAnswer(w, phoenixOpened)
		return
	}
	if refused := ps.polls.admission.pace(c.Identity(), r); refused != nil {
		phoenixRefuse(w, refused)
		return
	}
	lines := strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-ndjson")
	if refused := ps.uploads.read(body, c, token.secret, func(data []byte) { ps.take(w, c, token, data, lines) }); refused != nil {
		phoenixRefuse(w, refused)
	}
}

// take takes what a POST has brought, and answers.
func (ps *phoenixPolls) take(w http.ResponseWriter, c *clientsocket.ClientSocket, token pollToken, body []byte, lines bool) {
	l := polledLine(c, token.secret, true)
	if l == nil || !c.Connected() {
		phoenixAnswer(w, phoenixOpened)
		return
	}
	n := &l.conn
	n.Heard()
	frames, err := l.decode(body, lines)
	if err != nil {
		n.Close(wire.CloseUndecodable, err.Error())
		phoenixAnswer(w, phoenixMalformed)
		return
	}
	if len(frames) == 0 {
		n.Spend(0)
	}
	for _, f := range frames {
		n.Receive(f, 0)
	}
	phoenixAnswer(w, phoenixOK)
}

// decode reads the frames of a POST: text, or bytes in base64.
func (l *pollLine) decode(body []byte, lines bool) ([]wire.Frame, error) {
	list := [][]byte{body}
	if lines {
		most := l.polls.limits.BatchMessages
		list = bytes.SplitN(body, []byte("\n"), most+1) // what is beyond stays in one piece
		list = list[:min(len(list), most)]
	}
	var frames []wire.Frame
	for _, line := range list {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		data, isBytes := line, line[0] != '[' && line[0] != '{'
		if isBytes {
			var err error
			if data, err = base64.StdEncoding.AppendDecode(nil, line); err != nil {
				return nil, err
			}
		}
		if len(data) > l.polls.limits.MessageBytes {
			return nil, errTooLarge
		}
		f, err := l.dialect.Decode(isBytes, data)
		if err != nil {
			return nil, err
		}
		frames = append(frames, f)
	}
	return frames, nil
}

// phoenixReply is a reply to the poll that came with a token.
type phoenixReply struct{ token pollToken }

func (p phoenixReply) reply(w http.ResponseWriter, r *clientsocket.Reply) {
	if len(r.Frames) == 0 {
		p.nothing(w)
		return
	}
	next := pollToken{p.token.secret, r.To}
	phoenixMessages(w, phoenixOK, next.String(), r.Frames)
}

func (p phoenixReply) replaced(w http.ResponseWriter) { p.nothing(w) }

func (p phoenixReply) nothing(w http.ResponseWriter) {
	phoenixMessages(w, phoenixNothing, p.token.String(), nil)
}

// over is not Phoenix's own 410 with the token of another session: in that phoenix.js before
// 1.8 goes on without its channels. After this it joins them again.
func (phoenixReply) over(w http.ResponseWriter) { phoenixMessages(w, phoenixLater, "", nil) }

// phoenixMessages writes an answer with messages, which have the end of it with them; nil
// is none. Without a token the client has none from then on.
func phoenixMessages(w http.ResponseWriter, status int, token string, messages []byte) {
	replyHeaders(w)
	head := strconv.AppendInt([]byte(`{"status":`), int64(status), 10)
	head = append(head, `,"token":`...)
	if token == "" {
		head = append(head, "null"...)
	} else {
		head = wire.AppendString(head, token)
	}
	head = append(head, `,"messages":[`...)
	if messages == nil {
		messages = []byte("]}\n")
	}
	_, _ = w.Write(head)
	_, _ = w.Write(messages) // what is lost is given again
}

// phoenixRefuse answers a request that is refused: phoenix.js knows no other statuses.
func phoenixRefuse(w http.ResponseWriter, e *refusal) {
	switch {
	case e.retry > 0:
		phoenixAnswer(w, phoenixLater)
	case e.status == http.StatusBadRequest, e.status == http.StatusRequestEntityTooLarge:
		phoenixAnswer(w, phoenixMalformed)
	default:
		phoenixAnswer(w, phoenixRefused)
	}
}

// phoenixAnswer answers with a status alone.
func phoenixAnswer(w http.ResponseWriter, status int) {
	replyHeaders(w)
	_ = json.NewEncoder(w).Encode(struct {
		Status int `json:"status"`
	}{status})
}
