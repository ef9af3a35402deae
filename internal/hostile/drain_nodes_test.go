package hostile_test

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/broker/brokertest"
	"github.com/go-chime/chime/broker/local"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/internal/raw"
	"github.com/go-chime/chime/store"
)

// promising answers nobody by itself.
type promising struct{ owed chan func() }

func (promising) HandleJoined(context.Context, *channel.Socket, channel.Message) (channel.Accepted, error) {
	return channel.Accept(nil), nil
}

func (p promising) HandleMessage(_ context.Context, s *channel.Socket, m channel.Message) (any, error) {
	p.owed <- func() { _ = s.Reply(m, nil, nil) }
	return channel.Later, nil
}

func (promising) HandleLeave(context.Context, *channel.Socket, channel.Reason) {}

// neighbours serves two nodes in a bubble.
func neighbours(t *testing.T, ch channel.Channel) (sites []*raw.Site) {
	pipes := map[string]func() (net.Conn, error){}
	between := &http.Transport{DialContext: func(_ context.Context, _, address string) (net.Conn, error) {
		host, _, _ := strings.Cut(address, ":")
		return pipes[host]()
	}}
	engine := brokertest.NewEngine(local.New(store.NewMemory()))
	for _, host := range []string{"one.example", "two.example"} {
		live := chime.NewRouter(chime.WithAnonymous(), chime.WithBroker(engine.Node()), chime.WithNode("", "http://"+host), chime.WithNodeTransport(between))
		live.Channel("hall:{id}", ch)
		app := chi.NewRouter()
		app.Mount("/socket", live)
		listener, server := raw.NewPipes(), &http.Server{Handler: app}
		pipes[host] = listener.Dial
		served := make(chan struct{})
		go func() {
			defer close(served)
			_ = server.Serve(listener)
		}()
		t.Cleanup(func() {
			between.CloseIdleConnections()
			_ = live.Shutdown(context.Background())
			_ = server.Shutdown(context.Background())
			<-served
		})
		sites = append(sites, &raw.Site{Live: live, Host: host, Dial: listener.Dial, Wait: time.Hour})
	}
	return sites
}

// What a node forwards for others ends over a window that begins when its own clients have had
// their turns: one of them that waits for an answer does not hold it up.
func TestAClientThatWaitsForAnAnswerHoldsUpNoDrainOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := promising{make(chan func(), 1)}
		sites := neighbours(t, ch)
		ann := sites[0].Phoenix(t).Join("hall:1", "ann")
		ann.Text(`["1","2","hall:1","ask",{}]`)
		reply := <-ch.owed
		ben := sites[1].Poll(t)
		cut := make(chan struct{})
		go func() {
			defer close(cut)
			sites[0].Request(t, http.MethodGet, "/socket/poll", "", "Chime-Received: 0", "Chime-Secret: "+ben.Secret)
		}()
		synctest.Wait() // until that poll is parked on the other node
		down := make(chan error, 1)
		go func() { down <- sites[0].Live.Shutdown(t.Context()) }()
		<-cut
		reply()
		ann.Want(`["1","2","hall:1","phx_reply",{"status":"ok","response":{}}]`)
		ann.WantClose(1012, "drain")
		if err := <-down; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		ben.Post(`{"first":1,"frames":[]}`).WantApplied(t, 0)
	})
}
