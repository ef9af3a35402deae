package nats

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/go-chime/chime/broker"
)

const (
	headerErr  = "Chime-Error"
	headerPart = "Chime-Part" // the number of a part of an answer, from 0
	headerMore = "Chime-More" // there is another part
	maxAnswers = 64           // requests of others that are answered at one time
)

var errHole = errors.New("a part of the answer is missing")

// asks are the requests of nodes to each other.
type asks struct {
	site      *site
	nodes     *nodes
	answer    func(context.Context, []byte) ([]byte, error)
	answering chan struct{} // one for each request that is being answered
}

// begin has the requests of others answered.
func (a *asks) begin(answer func(context.Context, []byte) ([]byte, error)) {
	a.answer, a.answering = answer, make(chan struct{}, maxAnswers)
	if err := a.site.subscribe(a.site.names.ask(a.site.id), a.reply); err != nil {
		a.site.log.Warn("broker/nats: no requests of other nodes", "error", err)
	}
}

// reply answers a request of another node.
func (a *asks) reply(m *client.Msg) {
	select {
	case a.answering <- struct{}{}:
	case <-a.site.ctx.Done():
		return
	}
	a.site.tasks.Go(func() {
		defer func() { <-a.answering }()
		wait, err := time.ParseDuration(text(m.Header, headerAfter))
		if err != nil {
			wait = deadAfter
		}
		ctx, cancel := context.WithTimeout(a.site.ctx, wait)
		defer cancel()
		body, err := a.answer(ctx, m.Data)
		if err == nil {
			err = a.send(m.Reply, body)
		}
		if err != nil && a.site.ctx.Err() == nil { // whoever asks must not wait for what does not come
			_ = a.site.conn.PublishMsg(&client.Msg{Subject: m.Reply, Header: client.Header{headerErr: {escape(err.Error())}}})
		}
	})
}

// send sends an answer, in parts that the servers take.
func (a *asks) send(to string, body []byte) error {
	for part, most := 0, a.site.most(); ; part++ {
		n := min(len(body), most)
		m := &client.Msg{Subject: to, Data: body[:n], Header: client.Header{headerPart: {strconv.Itoa(part)}}}
		if body = body[n:]; len(body) > 0 {
			m.Header[headerMore] = []string{"1"}
		}
		if err := a.site.conn.PublishMsg(m); err != nil || len(body) == 0 {
			return err
		}
	}
}

// all asks all other nodes, and returns when each has answered or ctx ends. Without a deadline
// that is when one that says nothing would count as gone.
func (a *asks) all(ctx context.Context, request []byte) ([]broker.Answer, error) {
	if err := a.site.reached(); err != nil {
		return nil, err
	}
	var answers []broker.Answer
	var instances []string
	for instance, node := range a.nodes.named() {
		answers, instances = append(answers, broker.Answer{Node: node}), append(instances, instance)
	}
	end, limited := ctx.Deadline()
	if !limited {
		var cancel context.CancelFunc
		end = time.Now().Add(deadAfter)
		ctx, cancel = context.WithDeadlineCause(ctx, end, broker.ErrUnavailable)
		defer cancel()
	}
	header := client.Header{headerAfter: {time.Until(end).String()}}
	var asking sync.WaitGroup
	for i := range answers {
		asking.Go(func() {
			answers[i].Body, answers[i].Err = a.one(ctx, &client.Msg{Subject: a.site.names.ask(instances[i]), Header: header, Data: request})
		})
	}
	asking.Wait()
	return answers, nil
}

// one asks one node.
func (a *asks) one(ctx context.Context, m *client.Msg) ([]byte, error) {
	var body []byte
	part := uint64(0)
	err := a.site.calls.gather(ctx, m, func(r *client.Msg) (bool, error) {
		if why := text(r.Header, headerErr); why != "" {
			return true, errors.New(unescape(why))
		}
		if field(r.Header, headerPart) != part {
			return true, errHole
		}
		part++
		body = append(body, r.Data...)
		return text(r.Header, headerMore) == "", nil
	})
	switch {
	case err == nil:
		return body, nil
	case errors.Is(err, client.ErrNoResponders):
		return nil, broker.ErrUnavailable
	case errors.Is(err, client.ErrMaxPayload):
		return nil, fmt.Errorf("%w: a request of %d bytes", broker.ErrTooLarge, len(m.Data))
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	return nil, err
}
