package channel

import (
	"context"
	"log/slog"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/fanout"
	"github.com/go-chime/chime/internal/task"
	"github.com/go-chime/chime/store"
)

// sayWithin bounds the wait for a broker that is told something of a draft.
const sayWithin = 5 * time.Second

// exchange is what the nodes tell each other of drafts, in the topics of these: what is said here
// goes to the broker, what is heard to the topic or to the herald of the draft.
type exchange struct {
	ctx    context.Context // of what nobody waits for
	tag    string          // of this node
	broker broker.Broker
	topics *registry
	drafts *drafts
	tasks  *task.Group
	log    *slog.Logger
}

// say tells the other nodes something of a draft.
func (x *exchange) say(ctx context.Context, topic string, p fanout.Piece) error {
	p.By = x.tag
	text, err := p.Encode()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, sayWithin)
	defer cancel()
	_, err = x.broker.Publish(ctx, broker.Publication{Topic: topic, Message: store.Message{Event: fanout.EventDraft, Payload: text, At: time.Now()}}, nil)
	return err
}

// hear takes what another node says in a topic that is for no client.
func (x *exchange) hear(said broker.Publication) {
	if said.Event != fanout.EventDraft {
		return // of a later version
	}
	p, err := fanout.DecodePiece(said.Payload)
	if err != nil {
		x.log.Warn("what another node tells of a draft can't be read", "topic", said.Topic, "error", err)
		return
	}
	at := x.topics.find(said.Topic)
	switch {
	case p.By == x.tag || at == nil:
	case p.Wants:
		if d := x.drafts.find(p.Draft); d != nil && d.topic == said.Topic {
			d.herald.misses(p.At)
		}
	case p.Over != nil:
		at.HearEnd(p.Draft, *p.Over)
	default:
		if from, missing := at.Hear(p); missing {
			x.tasks.Go(func() { // an announcement waits for none
				_ = x.say(x.ctx, said.Topic, fanout.Piece{Draft: p.Draft, At: from, Wants: true}) // it is said again if need be
			})
		}
	}
}
