package nats_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/brokertest"
	"github.com/go-chime/chime/broker/nats"
	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/store"
)

// What a longer retention brings back is another test's: the servers have let go of it.
func TestAtRandomItIsLikeMemory(t *testing.T) {
	t.Parallel()
	b := open(t, nats.Options{Server: serve(t), Prefix: prefix(), KeyWindow: time.Hour})
	brokertest.RunModel(t, b, brokertest.Random{Seed: need.Seed(t), Steps: need.Rounds(1500, 6000), Proven: 0.6})
}

// anyOf is three nodes, of which another does what is to be done each time. A server that is
// behind may still have one message that was redacted, so that is waited for.
type anyOf struct {
	*nats.Broker
	list    []*nats.Broker
	streams []*servedStream // as each server has it: a direct get is answered by the server that is asked
}

// Nodes of three servers are like memory, too: what one did the others read.
func TestAnyOfThreeNodesIsLikeMemory(t *testing.T) {
	t.Parallel()
	s, p := cluster(t), prefix()
	var a anyOf
	for _, server := range s.list {
		a.list = append(a.list, open(t, nats.Options{Server: server, Prefix: p, Replicas: 3, KeyWindow: time.Hour}))
		a.streams = append(a.streams, find(t, server, p))
	}
	a.Broker = a.list[0]
	brokertest.RunModel(t, a, brokertest.Random{Seed: need.Seed(t), Steps: need.Rounds(600, 3000), Proven: 0.5, Within: 2 * time.Second})
}

func (a anyOf) pick() *nats.Broker { return a.list[rand.IntN(len(a.list))] }

func (a anyOf) Start(s broker.Sink) {
	for _, b := range a.list {
		b.Start(s)
	}
}

func (a anyOf) Publish(ctx context.Context, p broker.Publication, keep *store.Retention) (store.Position, error) {
	at, err := a.pick().Publish(ctx, p, keep)
	if err == nil && p.Erases != 0 && p.Erases != store.All {
		err = a.settle(ctx, p.Erases)
	}
	return at, err
}

func (a anyOf) Erase(ctx context.Context, topic string, offset uint64) error {
	if err := a.pick().Erase(ctx, topic, offset); err != nil {
		return err
	}
	if offset == 0 {
		return nil
	}
	return a.settle(ctx, offset)
}

func (a anyOf) History() broker.History { return a.pick().History() }

// settle waits until no server has a message that the leader has not. That a replica has
// acknowledged what the leader told it, which is what the leader knows, doesn't mean that it
// has done it.
func (a anyOf) settle(ctx context.Context, offset uint64) error {
	if kept, err := a.streams[0].ledHas(ctx, offset); kept || err != nil {
		return err // it was not erased: the message that says so was said before
	}
	for _, s := range a.streams {
		for {
			if _, err := s.stream.GetMsg(ctx, offset); errors.Is(err, jetstream.ErrMsgNotFound) {
				break
			} else if err != nil {
				return fmt.Errorf("wait for offset %d to be away: %w", offset, err)
			}
		}
	}
	return nil
}

// ledHas asks the leader whether it has a message.
func (s *servedStream) ledHas(ctx context.Context, offset uint64) (bool, error) {
	answer, err := s.js.Conn().RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+s.stream.CachedInfo().Config.Name, fmt.Appendf(nil, `{"seq":%d}`, offset))
	if err != nil {
		return false, err
	}
	var said struct {
		Error *jetstream.APIError `json:"error"`
	}
	switch err := json.Unmarshal(answer.Data, &said); {
	case err != nil:
		return false, err
	case said.Error == nil:
		return true, nil
	case said.Error.ErrorCode != jetstream.JSErrCodeMessageNotFound:
		return false, said.Error
	default:
		return false, nil
	}
}

// ignored is a sink that nobody looks at.
type ignored struct{}

func (ignored) Published(broker.Publication)  {}
func (ignored) Erased(string, store.Position) {}
func (ignored) Lost(string)                   {}
