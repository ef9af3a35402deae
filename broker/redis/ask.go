package redis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
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
	n := &b.nodes
	n.mu.Lock()
	own := n.self.ID
	n.mu.Unlock()
	if own == "" {
		return nil, fmt.Errorf("broker/redis: ask: %w: this node has no name yet", broker.ErrUnavailable)
	}
	var answers []broker.Answer
	var came []chan broker.Answer
	for _, other := range named(list) {
		if other.ID != own {
			answers = append(answers, broker.Answer{Node: other})
			came = append(came, n.ask(ctx, own, other.ID, request))
		}
	}
	for i, c := range came {
		a := <-c
		answers[i].Body, answers[i].Err = a.Body, a.Err
	}
	return answers, nil
}

// ask asks one node. One answer comes, by ctx's end at the latest.
func (n *nodes) ask(ctx context.Context, own, other string, request []byte) chan broker.Answer {
	e := n.engine
	came, heard := make(chan broker.Answer, 1), make(chan broker.Answer, 1)
	n.mu.Lock()
	n.requests++
	number := n.engine.id + "." + strconv.Itoa(n.requests)
	n.asking[number] = heard
	n.mu.Unlock()
	wait := e.dead()
	if end, ok := ctx.Deadline(); ok {
		wait = time.Until(end)
	}
	e.tasks.Go(func() {
		defer func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			delete(n.asking, number)
		}()
		ctx, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		if err := n.send(ctx, other, fmt.Sprintf("ask %s %s %d\n%s", number, own, wait.Milliseconds(), request)); err != nil {
			came <- broker.Answer{Err: err}
			return
		}
		select {
		case a := <-heard:
			came <- a
		case <-ctx.Done():
			came <- broker.Answer{Err: context.Cause(ctx)}
			_ = n.send(e.ctx, other, fmt.Sprintf("end %s %s\n", number, own)) // else it finds out by the time
		case <-e.ctx.Done():
			came <- broker.Answer{Err: errClosed}
		}
	})
	return came
}

// send has a node hear a text.
func (n *nodes) send(ctx context.Context, node, text string) error {
	e := n.engine
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
func (n *nodes) add(text string) {
	line, rest, _ := strings.Cut(text, "\n")
	fields := strings.Split(line, " ")
	if len(fields) < 2 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	number := fields[1]
	var a broker.Answer
	switch fields[0] {
	case "ask":
		if len(fields) == 4 {
			n.reply(number, fields[2], fields[3], []byte(rest))
		}
		return
	case "end":
		if r := n.answered[number]; r != nil {
			r.cancel()
		}
		return
	case "answer":
		a.Body = []byte(rest)
	case "refuse":
		a.Err = errors.New(rest)
	default:
		return
	}
	if c := n.asking[number]; c != nil {
		select {
		case c <- a:
		default: // it has one
		}
	}
}

// lose implements hears: who asks waits for as long as they said.
func (n *nodes) lose() {}

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

// reply has a request answered, once. n.mu is held.
func (n *nodes) reply(number, node, ms string, request []byte) {
	e := n.engine
	wait, err := strconv.ParseInt(ms, 10, 64)
	if err != nil || n.answered[number] != nil || e.ctx.Err() != nil || n.answer == nil {
		return
	}
	ctx, cancel := context.WithTimeout(e.ctx, time.Duration(wait)*time.Millisecond)
	n.answered[number] = &incoming{cancel, time.Now().Add(min(time.Duration(wait)*time.Millisecond, remembered))}
	answer := n.answer
	if n.answers++; n.answers > maxAnswers {
		answer = func(context.Context, []byte) ([]byte, error) { return nil, errBusy }
	}
	e.tasks.Go(func() {
		defer n.answeredOne()
		body, err := answer(ctx, request)
		if err == nil && len(body) > maxPayload { // it would cost the one who asks its connection
			err = tooLarge(len(body))
		}
		text := "answer " + number + "\n" + string(body)
		if err != nil {
			text = "refuse " + number + "\n" + err.Error()
		}
		if err := n.send(ctx, node, text); err != nil && ctx.Err() == nil {
			e.log.Warn("broker/redis: an answer could not be sent", "error", err)
		}
		cancel()
	})
}

// forget forgets the requests that nobody waits for any more.
func (n *nodes) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	maps.DeleteFunc(n.answered, func(_ string, r *incoming) bool { return time.Now().After(r.until) })
}

func (n *nodes) answeredOne() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.answers--
}
