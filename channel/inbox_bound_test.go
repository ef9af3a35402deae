package channel

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/local"
	"github.com/go-chime/chime/transport"
)

// One bound holds for all that a client has sent and no handler has taken.
func TestAllInboxesOfAClientHaveOneBound(t *testing.T) {
	const most = 10_000
	big := func(topic string, bytes int) string {
		return fmt.Sprintf(`["1",null,"%s","big",{"pad":"%s"}]`, topic, strings.Repeat("x", bytes))
	}
	blocked := func(t *testing.T, topics ...string) (*reader, *client) {
		h, r := stage(t, &scripted{message: untilCancelled})
		h.limits.InboxBytes = most
		for _, topic := range topics {
			r.says(t, `["1","1","`+topic+`","phx_join",{}]`)
			r.says(t, `["1",null,"`+topic+`","block",{}]`)
		}
		synctest.Wait()
		r.takes()
		return r, r.receiver.(*client)
	}
	t.Run("however many topics there are", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			topics := make([]string, 50)
			for i := range topics {
				topics[i] = fmt.Sprint("t", i)
			}
			r, c := blocked(t, topics...)
			for range 5 {
				for _, topic := range topics {
					r.says(t, big(topic, 900))
					if c.mu.Lock(); c.bytes > most {
						t.Errorf("%d bytes wait, want at most %d", c.bytes, most)
					}
					c.mu.Unlock()
				}
			}
		})
	})
	t.Run("and the topic that takes most is to blame", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r, c := blocked(t, "a")
			r.says(t, `["1","1","b","phx_join",{}]`)
			synctest.Wait()
			r.takes()
			for range 3 {
				r.says(t, big("a", 3000))
			}
			r.says(t, `["1","7","b","big",{"pad":"`+strings.Repeat("x", 3000)+`"}]`)
			synctest.Wait()
			// In no order: they are of two topics.
			got, want := slices.Sorted(slices.Values(r.takes())), []string{failed("overloaded"), `["1","7","b","phx_reply",{"status":"ok","response":{}}]`}
			if !slices.Equal(got, want) {
				t.Errorf("%s read\n%q, want\n%q", r.id, got, want)
			}
			if c.bytes != 0 {
				t.Errorf("%d bytes wait, want none: what waited has been dropped", c.bytes)
			}
		})
	})
	t.Run("also a topic that is being joined, which ends after its reply", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			joining := make(chan struct{})
			h, r := stage(t, &scripted{join: func(_ context.Context, s *Socket, _ Message) (Accepted, error) {
				if s.Topic() == "a" {
					<-joining
				}
				return Accept(nil), nil
			}})
			h.limits.InboxBytes = most
			r.says(t, `["1","1","b","phx_join",{}]`)
			synctest.Wait()
			r.takes()
			r.says(t, `["1","1","a","phx_join",{}]`)
			synctest.Wait()
			for range 3 {
				r.says(t, big("a", 3000))
			}
			r.says(t, `["1","7","b","big",{"pad":"`+strings.Repeat("x", 3000)+`"}]`)
			synctest.Wait()
			r.wants(t, `["1","7","b","phx_reply",{"status":"ok","response":{}}]`)
			close(joining)
			synctest.Wait()
			r.wants(t, joinOK, failed("overloaded"))
		})
	})
}

// slowBroker subscribes when it is let go.
type slowBroker struct {
	broker.Broker
	hold chan struct{}
}

func (b slowBroker) Subscribe(ctx context.Context, topic string) error {
	<-b.hold
	return b.Broker.Subscribe(ctx, topic)
}

// A join that has no topic yet can't be ended by what comes behind it.
func TestAnInboxThatOverflowsBeforeItsJoinHasATopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		h := NewHub(Config{Broker: slowBroker{local.New(nil), hold}, Log: slog.New(slog.DiscardHandler), Limits: transport.Limits{InboxMessages: 2}})
		h.Channel("{topic}", &scripted{})
		r := newReader(h, "reader")
		r.says(t, `["1","1","a","phx_join",{}]`)
		synctest.Wait()
		for range 3 {
			r.says(t, `["1","2","a","on",{}]`)
		}
		r.wants(t, `["1","2","a","phx_reply",{"status":"error","response":{"reason":"overloaded"}}]`)
		close(hold)
		synctest.Wait()
		r.wants(t, joinOK, replyOK("2"), replyOK("2"))
		r.Close(0, "", Closed)
		if err := h.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
