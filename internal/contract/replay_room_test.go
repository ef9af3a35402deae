package contract

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/store"
)

type reading struct {
	channel.AnyoneMayJoin
	channel.NothingOnLeave
}

func (reading) HandleMessage(context.Context, *channel.Socket, channel.Message) (any, error) {
	return nil, nil
}

// A replay is more than a queue may hold, of one topic or of several that are
// joined at once; a client that reads as fast as it can gets all of it.
func TestReplayDoesNotOverrunTheQueue(t *testing.T) {
	const topics, kept = 8, 60
	for name, limits := range map[string]chime.Limits{
		"some room":    {QueueBytes: 128 << 10},
		"room for few": {QueueBytes: 16 << 10}, // and for the replies to all joins
	} {
		t.Run(name, func(t *testing.T) {
			live := chime.NewRouter(chime.WithAnonymous(), chime.WithStore(store.NewMemory()), chime.WithLimits(limits))
			live.Channel("room:{id}", reading{}, channel.History{Keep: kept, Replay: kept})
			srv := httptest.NewServer(live)
			defer srv.Close()
			for topic := range topics {
				for range kept {
					err := live.Broadcast(t.Context(), fmt.Sprintf("room:%d", topic), "said", map[string]string{"x": strings.Repeat("x", 3500)})
					if err != nil {
						t.Fatal(err)
					}
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			conn, _, err := websocket.Dial(ctx, srv.URL+"/websocket?vsn=2.0.0", nil) //nolint:bodyclose // the connection takes it over
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.CloseNow() }()
			for topic := range topics {
				join := fmt.Sprintf(`["%[1]d","%[1]d","room:%[1]d","phx_join",{}]`, topic)
				if err := conn.Write(ctx, websocket.MessageText, []byte(join)); err != nil {
					t.Fatal(err)
				}
			}
			for got := 0; got < topics*kept; {
				_, text, err := conn.Read(ctx)
				if err != nil {
					t.Fatalf("after %d of %d messages: %v", got, topics*kept, err)
				}
				if strings.Contains(string(text), `"said"`) {
					got++
				}
			}
			if err := live.Shutdown(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}
