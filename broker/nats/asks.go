package nats

import (
	"context"
	"errors"
	"sync"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/go-chime/chime/broker"
)

const (
	headerErr  = "Chime-Error"
	maxAnswers = 64 // requests of others that are answered at one time
)

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
	if _, err := a.site.conn.Subscribe(a.site.names.ask(a.site.id), a.reply); err != nil {
		a.site.log.Warn("chime: broker/nats: no requests of other nodes", "error", err)
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
		ctx := a.site.ctx
		if wait, err := time.ParseDuration(text(m.Header, headerAfter)); err == nil {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, wait)
			defer cancel()
		}
		body, err := a.answer(ctx, m.Data)
		r := &client.Msg{Subject: m.Reply, Data: body}
		if err != nil {
			r.Header = client.Header{headerErr: {escape(err.Error())}}
		}
		if err := a.site.conn.PublishMsg(r); err != nil && a.site.ctx.Err() == nil {
			// Whoever asks must not wait for what can't be sent.
			_ = a.site.conn.PublishMsg(&client.Msg{Subject: m.Reply, Header: client.Header{headerErr: {escape(err.Error())}}})
		}
	})
}

// all asks all other nodes, and returns when each has answered or ctx ends.
func (a *asks) all(ctx context.Context, request []byte) ([]broker.Answer, error) {
	if !a.site.conn.IsConnected() {
		return nil, broker.ErrUnavailable
	}
	var answers []broker.Answer
	var instances []string
	for instance, node := range a.nodes.named() {
		answers, instances = append(answers, broker.Answer{Node: node}), append(instances, instance)
	}
	header := client.Header{}
	if end, ok := ctx.Deadline(); ok {
		header[headerAfter] = []string{time.Until(end).String()}
	}
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
	if ctx.Done() == nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, deadAfter, broker.ErrUnavailable)
		defer cancel()
	}
	r, err := a.site.conn.RequestMsgWithContext(ctx, m)
	switch {
	case errors.Is(err, client.ErrNoResponders):
		return nil, broker.ErrUnavailable
	case err != nil && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, err
	}
	if why := text(r.Header, headerErr); why != "" {
		return nil, errors.New(unescape(why))
	}
	return r.Data, nil
}
