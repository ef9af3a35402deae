package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

// attempt is how long an answer is waited for before the same is asked again, at first; it
// doubles, up to maxAttempt. A server that was killed answers nothing.
const (
	attempt    = time.Second
	maxAttempt = 4 * time.Second
	pause      = 20 * time.Millisecond // before it is asked again where nobody is there
	maxPause   = 250 * time.Millisecond
)

// apiError is what a server answers.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string { return fmt.Sprintf("%s (%d)", e.Description, e.ErrCode) }

// Errors of servers, by their err_code.
const (
	codeNoPeers       = 10005 // not all servers have met
	codeNotAvailable  = 10008
	codeResources     = 10023
	codeNoMessage     = 10037
	codeNotForAccount = 10039
	codeStorage       = 10047
	codeTooLarge      = 10054
	codeNameInUse     = 10058
	codeNoStream      = 10059
	codeWrongTop      = 10071
	codeNotEnabled    = 10076
	codeStoreFailed   = 10077
	codeKeyInUse      = 10158 // another with the same ID is being stored
	codeWrongTopBusy  = 10164 // another of the same subject is being stored
	codeNoSequence    = 10043
	codeDeleteFailed  = 10057
)

// isCode reports whether err is what a server answered.
func isCode(err error, codes ...int) bool {
	var api *apiError
	if !errors.As(err, &api) {
		return false
	}
	return slices.Contains(codes, api.ErrCode)
}

// passing reports whether the same call may succeed in a moment, and nothing was done.
func passing(err error) bool {
	return errors.Is(err, client.ErrNoResponders) || errors.Is(err, client.ErrReconnectBufExceeded) ||
		errors.Is(err, client.ErrConnectionReconnecting) || errors.Is(err, client.ErrDisconnected) ||
		unsent(err) ||
		isCode(err, codeNoPeers, codeNotAvailable, codeKeyInUse, codeNotForAccount, codeNoStream)
}

// unsent reports whether a write to the connection failed, as that of what its buffer has no
// room for does in the moment in which it breaks: the server has not got all of the message,
// and drops what it has.
func unsent(err error) bool {
	var failed interface { // a net.Error
		error
		Timeout() bool
		Temporary() bool
	}
	return errors.Is(err, io.ErrClosedPipe) || errors.As(err, &failed) && !silent(err)
}

// silent reports whether nobody knows what became of a call.
func silent(err error) bool {
	return errors.Is(err, client.ErrTimeout) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, client.ErrConnectionClosed)
}

// errClosed is what calls return after Close.
var errClosed = fmt.Errorf("broker/nats: %w", store.ErrClosed)

// calls are requests to the servers over one connection.
type calls struct {
	conn   *client.Conn
	giveUp time.Duration
	nobody func() // a call was answered by nobody: the stream may be another by now

	prefix string // of the subjects that several answers to one request come to
	sub    *client.Subscription

	mu      sync.Mutex // guards the rest
	serial  uint64
	waiting map[string]*gathering
}

// gathering collects the answers to one request. They are bounded by what was asked for.
type gathering struct {
	came chan struct{} // full when some wait

	mu      sync.Mutex // guards waiting
	waiting []*client.Msg
}

func (g *gathering) put(m *client.Msg) {
	g.mu.Lock()
	g.waiting = append(g.waiting, m)
	g.mu.Unlock()
	select {
	case g.came <- struct{}{}:
	default:
	}
}

func (g *gathering) take() (list []*client.Msg) {
	g.mu.Lock()
	defer g.mu.Unlock()
	list, g.waiting = g.waiting, nil
	return list
}

func newCalls(conn *client.Conn, giveUp time.Duration, nobody func()) (*calls, error) {
	c := &calls{conn: conn, giveUp: giveUp, nobody: nobody, prefix: conn.NewInbox() + ".", waiting: map[string]*gathering{}}
	var err error
	if c.sub, err = conn.Subscribe(c.prefix+"*", c.deliver); err != nil {
		return nil, err
	}
	// Each answer was asked for, and the questions are bounded.
	return c, c.sub.SetPendingLimits(-1, -1)
}

// deliver waits for nobody: who takes time over one answer holds up no other call.
func (c *calls) deliver(m *client.Msg) {
	c.mu.Lock()
	g := c.waiting[m.Subject]
	c.mu.Unlock()
	if g != nil {
		g.put(m)
	}
}

// gather asks, and calls each for every answer until it reports that it has enough.
func (c *calls) gather(ctx context.Context, m *client.Msg, each func(*client.Msg) (enough bool, err error)) error {
	g := &gathering{came: make(chan struct{}, 1)}
	c.mu.Lock()
	c.serial++
	m.Reply = c.prefix + strconv.FormatUint(c.serial, 36)
	c.waiting[m.Reply] = g
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, m.Reply)
		c.mu.Unlock()
	}()
	if err := c.conn.PublishMsg(m); err != nil {
		return err
	}
	for {
		select {
		case <-g.came:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		for _, m := range g.take() {
			if text(m.Header, headerStatus) == "503" && len(m.Data) == 0 {
				return client.ErrNoResponders
			}
			if enough, err := each(m); enough || err != nil {
				return err
			}
		}
	}
}

// again calls try until it succeeds or fails for good, ctx ends, or it is time to give up.
// Of a call whose outcome is not known the error is ErrUncertain if unsure is set.
func (c *calls) again(ctx context.Context, unsure bool, try func(context.Context) error) error {
	if c.conn.IsClosed() {
		return errClosed
	}
	end := time.Now().Add(c.giveUp)
	limit, wait, uncertain := attempt, pause, false
	for {
		err := c.once(ctx, limit, unsure, try)
		switch {
		case err == nil:
			return nil
		case silent(err):
			uncertain = uncertain || unsure
			limit = min(2*limit, maxAttempt)
		case !passing(err):
			return err
		case errors.Is(err, client.ErrNoResponders), isCode(err, codeNoStream):
			c.nobody()
		}
		if ctx.Err() == nil && time.Now().Before(end) && !c.conn.IsClosed() {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
			timer.Stop()
			wait = min(2*wait, maxPause)
		}
		if ctx.Err() != nil || !time.Now().Before(end) || c.conn.IsClosed() {
			why := broker.ErrUnavailable
			switch {
			case uncertain:
				why = broker.ErrUncertain
			case c.conn.IsClosed():
				why = errClosed
			}
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return fmt.Errorf("%w: %w", why, err)
		}
	}
}

// once tries once. What changes something is completed whatever becomes of ctx.
func (c *calls) once(ctx context.Context, limit time.Duration, whole bool, try func(context.Context) error) error {
	if whole {
		ctx = context.WithoutCancel(ctx)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, client.ErrTimeout)
	defer cancel()
	err := try(ctx)
	if err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = context.Cause(ctx)
	}
	return err
}

// api calls a function of JetStream, and reads what it answers into answer.
func (c *calls) api(ctx context.Context, function string, request, answer any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	m, err := c.conn.RequestWithContext(ctx, "$JS.API."+function, body)
	if err != nil {
		return err
	}
	var failed struct {
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &failed); err != nil {
		return fmt.Errorf("an answer that can't be read: %w", err)
	}
	if failed.Error != nil {
		return failed.Error
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(m.Data, answer)
}

// ack is the answer to what is published in a stream.
type ack struct {
	Seq       uint64    `json:"seq"`
	Duplicate bool      `json:"duplicate"`
	Error     *apiError `json:"error"`
}

// store publishes in a stream, and returns what its leader answers.
func (c *calls) store(ctx context.Context, m *client.Msg) (ack, error) {
	answer, err := c.conn.RequestMsgWithContext(ctx, m)
	if err != nil {
		return ack{}, err
	}
	var a ack
	if err := json.Unmarshal(answer.Data, &a); err != nil {
		return ack{}, fmt.Errorf("an answer that can't be read: %w", err)
	}
	if a.Error != nil {
		return a, a.Error
	}
	return a, nil
}

// topIn returns the sequence that a stream says is the last of the subject, in its error for
// another one that was expected.
func topIn(err error) uint64 {
	var api *apiError
	if !errors.As(err, &api) || api.ErrCode != codeWrongTop {
		return 0
	}
	_, n, _ := strings.Cut(api.Description, ": ")
	return uint64Of(n)
}
