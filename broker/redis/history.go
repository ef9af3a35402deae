package redis

import (
	"context"
	"fmt"
	"math"
	"strconv"

	"github.com/redis/rueidis"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

// history is what the engine has. It is read where it is written, never from a replica.
type history struct{ engine *engine }

var _ broker.Tops = history{}

// History implements broker.Broker. It is a [broker.Tops].
func (b *Broker) History() broker.History { return history{b.engine} }

func (e *engine) nowEpoch() string { return e.epoch.Load().(string) }

// Epoch implements broker.History. It changes if the engine is emptied while the broker runs.
func (h history) Epoch() string { return h.engine.nowEpoch() }

// Read implements broker.History. A page that is bounded neither in messages nor in bytes
// has the engine do nothing else meanwhile.
func (h history) Read(ctx context.Context, topic string, r store.Range) (store.Page, error) {
	if err := context.Cause(ctx); err != nil {
		return store.Page{}, fmt.Errorf("read %q: %w", topic, err)
	}
	page, err := h.read(ctx, topic, r)
	if err != nil {
		return store.Page{}, fmt.Errorf("read %q: %w", topic, err)
	}
	return page, nil
}

func (h history) read(ctx context.Context, topic string, r store.Range) (store.Page, error) {
	e := h.engine
	mode, from, bound := "after", strconv.FormatUint(r.After+1, 10)+"-0", r.After
	switch {
	case r.Newest && r.Before > 0:
		mode, from, bound = "newest", strconv.FormatUint(r.Before-1, 10)+"-0", r.Before
	case r.Newest:
		mode, from, bound = "newest", "+", 0
	case r.After == math.MaxUint64:
		mode = "top"
	}
	epoch := e.nowEpoch() // before the read: a page is rather of an epoch that has ended
	var answer []string
	err := e.look(ctx, func(ctx context.Context) (err error) {
		answer, err = evaluate(ctx, e.client, readScript, e.names.keys(topic),
			mode, from, strconv.Itoa(max(r.Limit, 0)), strconv.Itoa(max(r.Bytes, 0)), strconv.FormatUint(bound, 10))
		return err
	})
	if err != nil {
		return store.Page{}, err
	}
	page, err := pageOf(answer, r.Newest)
	page.Epoch = epoch
	return page, err
}

// Of an answer of script/read.lua: what comes first, and then of each message.
const answerHead, answerMessage = 3, 3

func pageOf(answer []string, newest bool) (p store.Page, err error) {
	if len(answer) < answerHead || (len(answer)-answerHead)%answerMessage != 0 {
		return p, errAnswer
	}
	if p.Top, err = strconv.ParseUint(answer[0], 10, 64); err != nil {
		return p, errAnswer
	}
	p.Complete, p.More = answer[1] == "1", answer[2] == "1"
	n := (len(answer) - answerHead) / answerMessage
	p.Messages = make([]store.Message, n)
	for i := range n {
		m := &p.Messages[i]
		if newest {
			m = &p.Messages[n-1-i]
		}
		if err := setMessage(m, answer[answerHead+i*answerMessage:]); err != nil {
			return store.Page{}, fmt.Errorf("the message at offset %s: %w", answer[answerHead+i*answerMessage], err)
		}
	}
	return p, nil
}

func setMessage(m *store.Message, f []string) (err error) {
	if m.Offset, err = strconv.ParseUint(f[0], 10, 64); err != nil {
		return errForm
	}
	m.Payload = []byte(f[2])
	return setEntry(m, f[1])
}

// topsAtOnce is how many topics are looked at by one pipeline.
const topsAtOnce = 500

// Tops implements broker.Tops.
func (h history) Tops(ctx context.Context, topics []string) ([]store.Position, error) {
	e := h.engine
	if err := context.Cause(ctx); err != nil {
		return nil, fmt.Errorf("read the tops of %d topics: %w", len(topics), err)
	}
	tops := make([]store.Position, 0, len(topics))
	for len(topics) > 0 {
		part := topics[:min(len(topics), topsAtOnce)]
		topics = topics[len(part):]
		epoch := e.nowEpoch()
		var found []store.Position
		err := e.look(ctx, func(ctx context.Context) error {
			found = found[:0]
			list := make(rueidis.Commands, len(part))
			for i, topic := range part {
				list[i] = e.client.B().Hget().Key(e.names.keys(topic)[1]).Field("top").Build()
			}
			for _, r := range e.client.DoMulti(ctx, list...) {
				top, err := r.AsUint64()
				if err != nil && !rueidis.IsRedisNil(err) {
					return err
				}
				found = append(found, store.Position{Epoch: epoch, Offset: top})
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read the tops of %d topics: %w", len(part), err)
		}
		tops = append(tops, found...)
	}
	return tops, nil
}
