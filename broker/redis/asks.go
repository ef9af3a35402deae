package redis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-chime/chime/broker"
)

// What nodes send each other, by a channel of each, is a line and what follows it:
//
//	ask number node ms      what is asked, of a node that waits for so long
//	end number node         it waits no longer
//	answer number           what is answered
//	refuse number           the text of an error
//
// A number is that of the process that asks, and of its request.

var (
	errDeaf = errors.New("the node does not hear")
	errBusy = errors.New("the node answers too many requests already")
)

// Ask implements broker.Cluster.
func (b *Broker) Ask(ctx context.Context, request []byte) ([]broker.Answer, error) {
	if len(request) > maxPayload {
		return nil, fmt.Errorf("broker/redis: ask: %w", tooLarge(len(request)))
	}
	list, err := b.nodes.up(ctx)
	if err != nil {
		return nil, fmt.Errorf("broker/redis: ask: %w", err)
	}
	own := b.nodes.name()
	if own == "" {
		return nil, fmt.Errorf("broker/redis: ask: %w: this node has no name yet", broker.ErrUnavailable)
	}
	others := slices.DeleteFunc(named(list), func(n broker.Node) bool { return n.ID == own })
	return b.asks.all(ctx, own, others, request), nil
}

// asks are the requests of nodes to each other.
type asks struct {
	engine *engine

	mu       sync.Mutex // guards what follows
	answer   func(ctx context.Context, request []byte) ([]byte, error)
	asking   map[string]chan broker.Answer // by the number of a request
	answered map[string]*incoming          // that are being answered, or were
	answers  int                           // that are being made
	requests int
}

func (a *asks) init(e *engine) {
	a.engine, a.asking, a.answered = e, map[string]chan broker.Answer{}, map[string]*incoming{}
}

// begin has the requests of others answered.
func (a *asks) begin(answer func(ctx context.Context, request []byte) ([]byte, error)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = answer
}

// all asks these nodes, and returns when of each an answer has come, by ctx's end at the latest.
func (a *asks) all(ctx context.Context, own string, others []broker.Node, request []byte) []broker.Answer {
	answers, came := make([]broker.Answer, len(others)), make([]chan broker.Answer, len(others))
	for i, other := range others {
		came[i] = a.one(ctx, own, other.ID, request)
	}
	for i, c := range came {
		answers[i] = <-c
		answers[i].Node = others[i]
	}
	return answers
}

// one asks one node. One answer comes, by ctx's end at the latest.
func (a *asks) one(ctx context.Context, own, other string, request []byte) chan broker.Answer {
	e := a.engine
	came, heard := make(chan broker.Answer, 1), make(chan broker.Answer, 1)
	a.mu.Lock()
	a.requests++
	number := a.engine.id + "." + strconv.Itoa(a.requests)
	a.asking[number] = heard
	a.mu.Unlock()
	wait := e.dead()
	if end, ok := ctx.Deadline(); ok {
		wait = time.Until(end)
	}
	e.tasks.Go(func() {
		defer func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			delete(a.asking, number)
		}()
		ctx, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		if err := a.send(ctx, other, fmt.Sprintf("ask %s %s %d\n%s", number, own, wait.Milliseconds(), request)); err != nil {
			came <- broker.Answer{Err: err}
			return
		}
		select {
		case answer := <-heard:
			came <- answer
		case <-ctx.Done():
			came <- broker.Answer{Err: context.Cause(ctx)}
			_ = a.send(e.ctx, other, fmt.Sprintf("end %s %s\n", number, own)) // else it finds out by the time
		case <-e.ctx.Done():
			came <- broker.Answer{Err: errClosed}
		}
	})
	return came
}

// send has a node hear a text.
func (a *asks) send(ctx context.Context, node, text string) error {
	e := a.engine
	var heard int64
	err := e.look(ctx, func(ctx context.Context) (err error) {
		heard, err = e.client.Do(ctx, e.client.B().Publish().Channel(e.names.node(node)).Message(text).Build()).AsInt64()
		return err
	})
	if err == nil && heard == 0 && !e.cluster { // a Cluster counts those of one of its nodes only
		err = errDeaf
	}
	return err
}

// add implements hears.
func (a *asks) add(text string) {
	line, rest, _ := strings.Cut(text, "\n")
	fields := strings.Split(line, " ")
	if len(fields) < 2 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	number := fields[1]
	var answer broker.Answer
	switch fields[0] {
	case "ask":
		if len(fields) == 4 {
			a.reply(number, fields[2], fields[3], []byte(rest))
		}
		return
	case "end":
		if r := a.answered[number]; r != nil {
			r.cancel()
		}
		return
	case "answer":
		answer.Body = []byte(rest)
	case "refuse":
		answer.Err = errors.New(rest)
	default:
		return
	}
	if c := a.asking[number]; c != nil {
		select {
		case c <- answer:
		default: // it has one
		}
	}
}

// lose implements hears: who asks waits for as long as they said.
func (a *asks) lose() {}

// remembered is for how long a request is, at most: it may come again, if the one who asks has
// lost its connection.
const remembered = time.Minute

// incoming is a request of another node.
type incoming struct {
	cancel context.CancelFunc
	until  time.Time // it is remembered
}

// maxAnswers is how many requests of others are answered at one time. One more is refused.
const maxAnswers = 64

// reply has a request answered, once. a.mu is held.
func (a *asks) reply(number, node, ms string, request []byte) {
	e := a.engine
	wait, err := strconv.ParseInt(ms, 10, 64)
	if err != nil || a.answered[number] != nil || e.ctx.Err() != nil || a.answer == nil {
		return
	}
	ctx, cancel := context.WithTimeout(e.ctx, time.Duration(wait)*time.Millisecond)
	a.answered[number] = &incoming{cancel, time.Now().Add(min(time.Duration(wait)*time.Millisecond, remembered))}
	answer := a.answer
	if a.answers++; a.answers > maxAnswers {
		answer = func(context.Context, []byte) ([]byte, error) { return nil, errBusy }
	}
	e.tasks.Go(func() {
		defer a.answeredOne()
		body, err := answer(ctx, request)
		if err == nil && len(body) > maxPayload { // it would cost the one who asks its connection
			err = tooLarge(len(body))
		}
		text := "answer " + number + "\n" + string(body)
		if err != nil {
			text = "refuse " + number + "\n" + err.Error()
		}
		if err := a.send(ctx, node, text); err != nil && ctx.Err() == nil {
			e.log.Warn("broker/redis: an answer could not be sent", "error", err)
		}
		cancel()
	})
}

// forget forgets the requests that nobody waits for any more.
func (a *asks) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.answered, func(_ string, r *incoming) bool { return time.Now().After(r.until) })
}

func (a *asks) answeredOne() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers--
}
