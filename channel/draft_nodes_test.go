package channel_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/brokertest"
	"github.com/go-chime/chime/broker/local"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/channel/channeltest"
	"github.com/go-chime/chime/store"
)

// scribe writes what a test gives it.
type scribe struct {
	tokens chan string
	ends   chan error
}

func newScribe() *scribe { return &scribe{make(chan string), make(chan error)} }

func (s *scribe) write(ctx context.Context, d *channel.Draft) error {
	for {
		select {
		case token := <-s.tokens:
			if err := d.Append(token); err != nil {
				return err
			}
		case err := <-s.ends:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// begin begins a draft in room:1.
func (s *scribe) begin(t *testing.T, hub *channeltest.Hub) (id string) {
	t.Helper()
	id, err := hub.Draft(t.Context(), "room:1", "answer", obj{"by": "oracle"}, s.write)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// apart are the hubs of nodes in whose rooms drafts grow.
func apart(t *testing.T, s store.Store, nodes int, options ...channel.Option) (hubs []*channeltest.Hub, brokers []*brokertest.Node) {
	engine := brokertest.NewEngine(local.New(s))
	for i := range nodes {
		n := engine.Node()
		name := string(rune('a' + i))
		brokers, hubs = append(brokers, n), append(hubs, rooms(t, n, broker.Node{ID: name, Name: name}, options...))
	}
	return hubs, brokers
}

// rooms is the hub of a node in whose rooms drafts grow.
func rooms(t *testing.T, b broker.Broker, n broker.Node, options ...channel.Option) *channeltest.Hub {
	hub := channeltest.Open(t, channel.Config{Broker: b, Node: n, Log: slog.New(slog.DiscardHandler)})
	hub.Channel("room:{id}", everybody{}, options...)
	return hub
}

// growing is a draft that is retained, and has begun with "so far". The first of some nodes writes
// it, and ann watches it on the second.
type growing struct {
	*scribe
	hubs  []*channeltest.Hub
	nodes []*brokertest.Node
	ann   *channeltest.Member
	id    string
}

func growsOn(t *testing.T, nodes int) *growing {
	t.Helper()
	g := &growing{scribe: newScribe()}
	g.hubs, g.nodes = apart(t, store.NewMemory(), nodes, kept)
	g.ann = g.hubs[1].Join("room:1", nil)
	g.id = g.begin(t, g.hubs[0])
	g.tokens <- "so far"
	g.ann.WantDraft("answer", "so far")
	return g
}

func TestADraftGrowsOnAllNodes(t *testing.T) {
	for name, c := range map[string]struct {
		store   store.Store
		options []channel.Option
	}{
		"retained":  {store.NewMemory(), []channel.Option{kept}},
		"ephemeral": {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hubs, _ := apart(t, c.store, 3, c.options...)
				ann, bob := hubs[0].Join("room:1", nil), hubs[1].Join("room:1", nil)
				s := newScribe()
				id := s.begin(t, hubs[0])
				bob.WantDraft("answer", "")
				s.tokens <- "Once "
				for _, m := range []*channeltest.Member{ann, bob} {
					m.WantDraft("answer", "Once ")
				}
				cat := hubs[2].Join("room:1", nil) // nobody was there: it learns of a draft that pauses
				cat.WantDraft("answer", "Once ")
				dan := hubs[1].Join("room:1", nil) // from the copy
				dan.WantDraft("answer", "Once ")
				bob.Leave()
				bob = hubs[2].Join("room:1", nil) // on another node
				bob.WantDraft("answer", "Once ")
				want := "Once "
				for range 1000 {
					s.tokens <- "\"é\" "
					want += "\"é\" "
					time.Sleep(time.Millisecond)
				}
				all := []*channeltest.Member{ann, bob, cat, dan}
				for _, m := range all {
					m.WantDraft("answer", want)
				}
				s.ends <- nil
				for _, m := range all {
					m.WantBroadcast("answer", final(id, want))
				}
				time.Sleep(time.Minute)
				if c.store == nil {
					hubs[1].Join("room:1", nil).WantNothing()
				}
				for _, m := range all {
					m.WantNothing()
				}
			})
		})
	}
}

// Who joins between the end of a draft and its message is sent the message, whichever node it
// comes to.
func TestNoNodeShowsADraftThatIsAMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hubs, _ := apart(t, store.NewMemory(), 3, kept)
		bob := hubs[1].Join("room:1", nil)
		for range 20 {
			s := newScribe()
			id := s.begin(t, hubs[0])
			s.tokens <- "so far"
			bob.WantDraft("answer", "so far")
			s.ends <- nil
			bob.WantBroadcast("answer", final(id, "so far"))
			synctest.Wait()
			for _, hub := range hubs[1:] {
				m := hub.Join("room:1", map[string]any{"@last": 1})
				m.WantBroadcast("answer", final(id, "so far"))
				time.Sleep(2 * time.Second)
				m.WantNothing()
				m.Leave()
			}
		}
	})
}

func TestAnyNodeStopsADraft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := growsOn(t, 3)
		for _, wrong := range [][2]string{{"room:1", "another"}, {"room:2", g.id}} {
			if err := g.hubs[2].StopDraft(t.Context(), wrong[0], wrong[1]); !errors.Is(err, channel.ErrNoDraft) {
				t.Errorf("stop %q: got %v, want %v", wrong, err, channel.ErrNoDraft)
			}
		}
		g.nodes[2].Cut()
		if err := g.hubs[2].StopDraft(t.Context(), "room:1", g.id); !errors.Is(err, broker.ErrUnavailable) || errors.Is(err, channel.ErrNoDraft) {
			t.Errorf("cut off: got %v, want %v, since nobody knows whether there is one", err, broker.ErrUnavailable)
		}
		g.nodes[2].Heal()
		if err := g.hubs[2].StopDraft(t.Context(), "room:1", g.id); err != nil {
			t.Error(err)
		}
		g.ann.WantBroadcast("answer", final(g.id, "so far"))
		synctest.Wait()
		if err := g.hubs[2].StopDraft(t.Context(), "room:1", g.id); !errors.Is(err, channel.ErrNoDraft) {
			t.Errorf("stop one that is over: got %v, want %v", err, channel.ErrNoDraft)
		}
	})
}

func TestADraftIsDiscardedOnAllNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := growsOn(t, 2)
		g.ends <- channel.Refuse("unseemly")
		g.ann.WantBroadcast("draft_end", obj{"draft": g.id, "reason": "unseemly"})
		time.Sleep(time.Minute)
		g.ann.WantNothing()
	})
}

func TestTheDraftsOfANodeThatIsGoneAreOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := growsOn(t, 2)
		g.nodes[0].Kill()
		time.Sleep(10 * time.Second)
		g.hubs[1].Join("room:1", nil).WantDraft("answer", "so far") // it may only be slow
		time.Sleep(6 * time.Second)
		g.ann.WantBroadcast("draft_end", obj{"draft": g.id, "reason": "lost"})
		g.hubs[1].Join("room:1", nil).WantNothing()
		g.ends <- nil // which nobody hears
		time.Sleep(time.Minute)
		g.ann.WantNothing()
	})
}

func TestANodeThatDrainsLeavesItsDraftsWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := growsOn(t, 2)
		if err := g.hubs[0].Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		g.ann.WantBroadcast("answer", final(g.id, "so far"))
		g.ann.WantNothing()
	})
}

// A node that hears nothing for a while shows all of it when it hears again; it shows no draft
// for longer than it would be of one that is lost.
func TestANodeThatIsCutOffShowsADraftAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := growsOn(t, 3)
		g.nodes[1].Cut()
		g.tokens <- " two "
		time.Sleep(5 * time.Second)
		g.nodes[1].Heal()
		g.ann.WantDraft("answer", "so far two ")
		for _, cut := range []int{1, 0} { // the owner may be cut off, too
			g.nodes[cut].Cut()
			time.Sleep(16 * time.Second)
			g.ann.WantBroadcast("draft_end", obj{"draft": g.id, "reason": "lost"})
			g.tokens <- "more "
			g.nodes[cut].Heal()
			if cut == 1 {
				g.ann.WantDraft("answer", "so far two more ")
			} else {
				g.ann.WantDraft("answer", "so far two more more ")
			}
		}
		// The message is found in the history, by a node that was not told.
		g.nodes[1].Cut()
		g.ends <- nil
		time.Sleep(time.Second)
		g.nodes[1].Heal()
		g.ann.WantBroadcast("answer", final(g.id, "so far two more more "))
		g.ann.WantBroadcast("draft_state", obj{"drafts": []any{}}) // it was behind
		time.Sleep(time.Minute)
		g.ann.WantNothing()
	})
}

// narrow is a broker that takes no large messages.
type narrow struct{ *brokertest.Node }

func (n narrow) Publish(ctx context.Context, p broker.Publication, keep *store.Retention) (store.Position, error) {
	if len(p.Payload) > 500 {
		return store.Position{}, broker.ErrTooLarge
	}
	return n.Node.Publish(ctx, p, keep)
}

// A text that is too large to be told again is seen by those who have it, and by no others.
func TestADraftThatIsTooLargeToBeToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := brokertest.NewEngine(local.New(store.NewMemory()))
		var hubs []*channeltest.Hub
		for range 3 {
			hubs = append(hubs, rooms(t, narrow{engine.Node()}, broker.Node{}, kept))
		}
		ann := hubs[1].Join("room:1", nil)
		s := newScribe()
		id := s.begin(t, hubs[0])
		text := ""
		grow := func() {
			for range 10 {
				s.tokens <- strings.Repeat("x", 100)
				text += strings.Repeat("x", 100)
				time.Sleep(50 * time.Millisecond)
			}
			ann.WantDraft("answer", text)
		}
		grow()
		late := hubs[2].Join("room:1", nil)
		grow()
		time.Sleep(5 * time.Second)
		grow()
		late.WantNothing()
		s.ends <- nil // nor may the message be published
		ann.WantBroadcast("draft_end", obj{"draft": id, "reason": "internal"})
		late.WantNothing()
	})
}

// What nodes tell each other is for no client, whatever it is, and a node that tells nonsense
// does no harm.
func TestNodesOfOtherVersionsTellOfDrafts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := brokertest.NewEngine(local.New(nil))
		other, n := engine.Node(), engine.Node()
		other.StartCluster(broker.Node{ID: "older", Name: "old"}, func(context.Context, []byte) ([]byte, error) { return nil, errors.New("what?") })
		hub := rooms(t, n, broker.Node{ID: "newer"})
		ann := hub.Join("room:1", nil)
		for _, said := range []store.Message{
			{Event: "@weather", Payload: []byte(`{}`)},
			{Event: "@draft", Payload: []byte(`?`)},
			{Event: "@draft", Payload: []byte(`{}`)},
			{Event: "@draft", Payload: []byte("{\"by\":\"x\",\"draft\":\"\xff\"}")},
			{Event: "@draft", Payload: []byte(`{"by":"x","draft":"d","at":0,"event":"e","payload":[]}`)},
			{Event: "@draft", Payload: []byte(`{"by":"x","draft":"d","at":0,"event":"e","payload":{},"text":1}`)},
			{Event: "@draft", Payload: []byte(`{"by":"x","draft":"d","at":-1,"event":"e","payload":{}}`)},
			{Event: "@draft", Payload: []byte(`{"by":"x","draft":"d","at":0,"wants":true}`)},
			{Event: "@draft", Payload: []byte(`{"by":"x","draft":"d","over":{}}`)},
			{Event: "@draft", Payload: []byte(`{"by":"x","draft":"` + strings.Repeat("d", 65) + `","at":0,"event":"e","payload":{}}`)},
		} {
			if _, err := other.Publish(t.Context(), broker.Publication{Topic: "room:1", Message: said}, nil); err != nil {
				t.Fatal(err)
			}
		}
		ann.WantNothing()
		if err := hub.StopDraft(t.Context(), "room:1", "d"); err == nil || errors.Is(err, channel.ErrNoDraft) || !strings.Contains(err.Error(), "older (old)") {
			t.Errorf("got %v, want an error that names the node that does not know", err)
		}
	})
}
