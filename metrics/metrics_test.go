package metrics_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/internal/leak"
	"github.com/go-chime/chime/internal/raw"
	"github.com/go-chime/chime/metrics"
	"github.com/go-chime/chime/store"
)

func TestMain(m *testing.M) { leak.Main(m) }

// gather returns all numbers, of a distribution the count, as name or name{value,value}
// in the order of the names of their labels.
func gather(t *testing.T, live *chime.Router) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry() // which compares with what was described
	registry.MustRegister(metrics.NewCollector(live))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]float64{}
	for _, f := range families {
		if f.GetHelp() == "" {
			t.Errorf("%s has no help", f.GetName())
		}
		for _, m := range f.GetMetric() {
			var values []string
			for _, l := range m.GetLabel() {
				values = append(values, l.GetValue())
			}
			name := f.GetName()
			if values != nil {
				name += "{" + strings.Join(values, ",") + "}"
			}
			found[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return found
}

// wantThese are numbers, and all others that begin as one of them are 0.
func wantThese(t *testing.T, live *chime.Router, want map[string]float64) {
	t.Helper()
	synctest.Wait()
	got := gather(t, live)
	family := func(name string) string { before, _, _ := strings.Cut(name, "{"); return before }
	families := map[string]bool{}
	for name := range want {
		families[family(name)] = true
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if families[family(name)] && got[name] != want[name] {
			t.Errorf("%s: got %v, want %v", name, got[name], want[name])
		}
	}
	for name := range want {
		if _, ok := got[name]; !ok {
			t.Errorf("%s: it is not there", name)
		}
	}
}

func TestWhatHappensIsCounted(t *testing.T) {
	options := []chime.Option{chime.WithGrace(15 * time.Second), chime.WithDrainWindow(chime.AtOnce), chime.WithLimits(chime.Limits{Topics: 2})}
	raw.InBubble(t, &http.Server{}, options, func(t *testing.T, s *raw.Site) {
		alice := s.Phoenix(t, "Authorization: Bearer alice")
		alice.Text(`["1","1","hall:1","phx_join",{}]`)
		alice.Next()
		alice.Text(`["1","2","hall:1","say",{}]`) // which she hears, too
		alice.Next()
		alice.Next()
		alice.Text(`["2","3","hall:2","phx_join",{"mode":"refuse"}]`)
		alice.Next()
		bob, secret := s.Chime(t, "Authorization: Bearer bob")
		bob.Text(`["1","1","book:1","phx_join",{"@since":{"epoch":"another","offset":3}}]`)
		bob.Next()
		if err := s.Live.Broadcast(t.Context(), "book:1", "new", struct{}{}); err != nil {
			t.Fatal(err)
		}
		bob.Next()
		_ = s.Bare(t, "join=hall:1", "Authorization: Bearer carol")
		wantThese(t, s.Live, map[string]float64{
			"chime_client_sockets{phoenix_v2,websocket}": 1, "chime_client_sockets{chime,websocket}": 1, "chime_client_sockets{bare,sse}": 1,
			"chime_client_sockets_detached":      0,
			"chime_opens_total{bare,sse}":        1,
			"chime_opens_total{chime,websocket}": 1, "chime_opens_total{phoenix_v2,websocket}": 1,
			"chime_open_seconds{sse}": 1, "chime_open_seconds{websocket}": 2,
			"chime_frames_received_total":           5,
			"chime_frames_sent_total":               7,
			"chime_topics":                          2,
			"chime_draining":                        0,
			"chime_joins_total{accepted,hall:{id}}": 2, "chime_joins_total{refused,hall:{id}}": 1, "chime_joins_total{accepted,book:{id}}": 1,
			"chime_recoveries_total{gap,book:{id}}":               1,
			"chime_handler_seconds{HandleMessage,hall:{id}}":      1,
			"chime_handler_seconds{HandleJoined,hall:{id}}":       3,
			"chime_handler_seconds{HandleJoined,book:{id}}":       1,
			"chime_handler_seconds{MarshalJSON,hall:{id}}":        2,
			"chime_handler_seconds{MarshalJSON,book:{id}}":        1,
			"chime_publish_seconds{hall:{id}}":                    1,
			"chime_publish_seconds{book:{id}}":                    1,
			"chime_fanout_seconds{hall:{id}}":                     1,
			"chime_fanout_seconds{book:{id}}":                     1,
			"chime_handler_panics_total{HandleMessage,hall:{id}}": 0,
		})

		// Bob loses his connection, and goes on with a stream.
		_ = bob.Conn.Close()
		wantThese(t, s.Live, map[string]float64{"chime_client_sockets_detached": 1, "chime_resumes_total{resumed}": 0})
		_, fresh := s.Half(t, "Authorization: Bearer bob", "Chime-Secret: "+secret)
		s.Post(t, fresh, `{"first":2,"frames":[],"received":2}`, "Authorization: Bearer bob", "Connection: close").WantApplied(t, 1)
		wantThese(t, s.Live, map[string]float64{
			"chime_client_sockets_detached":              0,
			"chime_client_sockets{phoenix_v2,websocket}": 1,
			"chime_client_sockets{chime,sse}":            1,
			"chime_client_sockets{bare,sse}":             1,
			"chime_resumes_total{resumed}":               1,
		})
		_, again := s.Half(t, "Authorization: Bearer bob", "Chime-Secret: "+fresh)
		s.Post(t, again, `{"first":2,"frames":[],"received":2}`, "Authorization: Bearer bob", "Connection: close").WantApplied(t, 1)
		_, _ = s.Half(t, "Authorization: Bearer dora", "Chime-Secret: "+strings.Repeat("x", 32))
		wantThese(t, s.Live, map[string]float64{"chime_resumes_total{resumed}": 1, "chime_resumes_total{moved}": 1, "chime_resumes_total{unknown}": 1})

		// What is refused, and a handler that panics.
		s.Request(t, http.MethodGet, "/socket/sse?join=hall:1", "", "Origin: https://elsewhere.example")
		s.Request(t, http.MethodGet, "/socket/sse", "", "Chime-Received: 0", "Authorization: Bearer banned")
		s.Request(t, http.MethodGet, "/socket/sse", "", "Chime-Received: 0", "Authorization: Bearer database down")
		s.Post(t, again, `{"first":2,"frames":[]}`, "Authorization: Bearer eve")
		alice.Text(`["3","4","hall:3","phx_join",{}]`)
		alice.Next()
		alice.Text(`["4","5","hall:4","phx_join",{}]`)
		alice.Next()
		alice.Text(`["1","6","hall:1","boom",{}]`)
		alice.Next()
		wantThese(t, s.Live, map[string]float64{
			"chime_refusals_total{origin}": 1, "chime_refusals_total{connect}": 1, "chime_refusals_total{connect_failed}": 1,
			"chime_refusals_total{foreign_secret}": 1, "chime_refusals_total{topics}": 1,
			"chime_handler_panics_total{HandleMessage,hall:{id}}": 1,
		})

		s.Shutdown(t)
		s.Request(t, http.MethodGet, "/socket/sse", "", "Chime-Received: 0", "Authorization: Bearer alice")
		got := gather(t, s.Live)
		for name, want := range map[string]float64{"chime_draining": 1, "chime_ends_total{drain}": 4, "chime_topics": 0, "chime_refusals_total{drain}": 1, "chime_client_sockets_detached": 0} {
			if got[name] != want {
				t.Errorf("after the drain: %s: got %v, want %v", name, got[name], want)
			}
		}
		for name, n := range got {
			if strings.HasPrefix(name, "chime_client_sockets{") && n != 0 {
				t.Errorf("after the drain: %s: got %v, want none", name, n)
			}
		}
	})
}

// Each of these has a test of what happens; here is that it is counted.
func TestWhatIsRefusedOrMissedIsCounted(t *testing.T) {
	history := store.NewMemory()
	options := []chime.Option{chime.WithGrace(15 * time.Second), chime.WithStore(history), chime.WithLimits(chime.Limits{InboxMessages: 1, UnackedMessages: 2})}
	raw.InBubble(t, &http.Server{}, options, func(t *testing.T, s *raw.Site) {
		say := func(topic string) error { return s.Live.Broadcast(t.Context(), topic, "new", struct{}{}) }
		const own = "Authorization: Bearer alice"
		alice := s.Phoenix(t, own)
		alice.Text(`["1","1","book:1","phx_join",{"@last":0}]`)
		var joined struct{ Response map[string]store.Position }
		var frame []json.RawMessage
		if json.Unmarshal([]byte(alice.Next()), &frame) != nil || json.Unmarshal(frame[4], &joined) != nil {
			t.Fatal("got no reply to the join")
		}
		at, _ := json.Marshal(joined.Response["@history"])
		alice.Text(`["2","2","book:1","phx_join",{"@since":` + string(at) + `}]`)
		alice.Next()
		alice.Next()
		wantThese(t, s.Live, map[string]float64{"chime_recoveries_total{recovered,book:{id}}": 1})
		before := gather(t, s.Live)["chime_sent_bytes_total"]
		if err := say("book:1"); err != nil {
			t.Fatal(err)
		}
		sent := alice.Next()
		if got := gather(t, s.Live)["chime_sent_bytes_total"] - before; got != float64(len(sent)+2) { // and a head of two bytes
			t.Errorf("chime_sent_bytes_total: got %v more, want %d", got, len(sent)+2)
		}

		// A handler that waits, and an inbox that is full.
		bob := s.Phoenix(t)
		bob.Text(`["1","1","hall:1","phx_join",{"as":"bob"}]`)
		bob.Next()
		bob.Text(`["1","2","hall:1","block",{}]`)
		s.Hall.WantBegun(t, "bob")
		bob.Text(`["1","3","hall:1","say",{}]`)
		bob.Text(`["1","4","hall:1","say",{}]`)
		wantThese(t, s.Live, map[string]float64{"chime_refusals_total{inbox}": 1})
		close(s.Hall.Release)

		// A client that missed more than is kept.
		es, secret := s.Half(t, own)
		s.Post(t, secret, `{"first":1,"frames":[["1","1","hall:2","phx_join",{}]]}`, own, "Connection: close").WantApplied(t, 1)
		es.Next()
		for range 4 {
			if err := say("hall:2"); err != nil {
				t.Fatal(err)
			}
			es.Next()
		}
		_ = es.Conn.Close()
		_, fresh := s.Half(t, own, "Chime-Secret: "+secret)
		s.Post(t, fresh, `{"first":2,"received":0,"frames":[]}`, own, "Connection: close")
		wantThese(t, s.Live, map[string]float64{"chime_resumes_total{missed_too_much}": 1, "chime_slow_total{unacked}": 1})

		// A store that is out of order.
		_ = history.Close()
		if err := say("book:1"); err == nil {
			t.Error("a broadcast without its store: got no error")
		}
		alice.Text(`["3","3","book:2","phx_join",{"@since":` + string(at) + `}]`)
		alice.Next()
		wantThese(t, s.Live, map[string]float64{
			"chime_publish_errors_total{other,book:{id}}": 1,
			"chime_recoveries_total{recovered,book:{id}}": 1, "chime_recoveries_total{unread,book:{id}}": 1,
		})
	})
}

// telling is a store with numbers.
type telling struct{ *store.Memory }

func (telling) Stats() store.Stats {
	return store.Stats{Commits: 1, CommitTime: 2 * time.Second, Bytes: 3, MaxBytes: 4, Topics: 5, MaxTopics: 6}
}

func TestTheNumbersOfAStoreAreThere(t *testing.T) {
	raw.InBubble(t, &http.Server{}, []chime.Option{chime.WithStore(telling{store.NewMemory()})}, func(t *testing.T, s *raw.Site) {
		wantThese(t, s.Live, map[string]float64{
			"chime_store_commits_total": 1, "chime_store_commit_seconds_total": 2,
			"chime_store_bytes": 3, "chime_store_max_bytes": 4, "chime_store_topics": 5, "chime_store_max_topics": 6,
		})
	})
}

// A client socket that ends without a connection is counted out, too.
func TestAGraceThatIsOverIsCounted(t *testing.T) {
	raw.InBubble(t, &http.Server{}, []chime.Option{chime.WithGrace(time.Second)}, func(t *testing.T, s *raw.Site) {
		bob, _ := s.Chime(t)
		bob.Text(`["1","1","hall:1","phx_join",{}]`)
		bob.Next()
		_ = bob.Conn.Close()
		wantThese(t, s.Live, map[string]float64{"chime_client_sockets_detached": 1, "chime_client_sockets{chime,websocket}": 1})
		time.Sleep(2 * time.Second)
		wantThese(t, s.Live, map[string]float64{"chime_client_sockets_detached": 0, "chime_client_sockets{chime,websocket}": 0, "chime_ends_total{vanished}": 1})
	})
}

// What waits for clients is counted while it does: a large message once, for however
// many, in both of the forms that it takes, and nothing when nobody is left to have it.
func TestWhatWaitsInQueuesIsCounted(t *testing.T) {
	raw.InBubble(t, &http.Server{}, []chime.Option{chime.WithGrace(15 * time.Second)}, func(t *testing.T, s *raw.Site) {
		for _, name := range []string{"bob", "carol"} {
			c, _ := s.Chime(t, "Authorization: Bearer "+name)
			c.Text(`["1","1","hall:1","phx_join",{}]`)
			c.Next()
			_ = c.Conn.Close()
		}
		wantThese(t, s.Live, map[string]float64{"chime_client_sockets_detached": 2, "chime_queue_bytes": 0})
		const size, frame = 10_000, 200 // what is around it
		if err := s.Live.Broadcast(t.Context(), "hall:1", "new", map[string]string{"x": strings.Repeat("x", size)}); err != nil {
			t.Fatal(err)
		}
		if got := gather(t, s.Live)["chime_queue_bytes"]; got < 2*size || got > 2*(size+frame) {
			t.Errorf("chime_queue_bytes: got %v, want %d to %d", got, 2*size, 2*(size+frame))
		}
		time.Sleep(16 * time.Second) // the grace is over
		wantThese(t, s.Live, map[string]float64{"chime_client_sockets_detached": 0, "chime_queue_bytes": 0})
	})
}

// listening has clients that say nothing.
type listening struct {
	channel.AnyoneMayJoin
	channel.ListenOnly
	channel.NothingOnLeave
}

// So is what waits for an Outgoing, before it comes to a queue.
func TestWhatWaitsForAnOutgoingIsCounted(t *testing.T) {
	raw.InBubble(t, &http.Server{}, nil, func(t *testing.T, s *raw.Site) {
		release := make(chan struct{})
		s.Live.Channel("masked:{id}", listening{}, channel.Outgoing(func(_ context.Context, _ *channel.Socket, m channel.Message) (any, bool) {
			<-release
			return m.Payload, true
		}, "new"))
		bob, _ := s.Chime(t)
		bob.Text(`["1","1","masked:1","phx_join",{}]`)
		bob.Next()
		const size = 10_000
		for range 3 {
			if err := s.Live.Broadcast(t.Context(), "masked:1", "new", map[string]string{"x": strings.Repeat("x", size)}); err != nil {
				t.Fatal(err)
			}
		}
		if got := gather(t, s.Live)["chime_queue_bytes"]; got < 3*2*size {
			t.Errorf("chime_queue_bytes: got %v, want %d at least", got, 3*2*size)
		}
		close(release)
		for range 3 {
			bob.Next()
		}
	})
}

func ExampleNewCollector() {
	live := chime.NewRouter(chime.WithAnonymous())
	prometheus.MustRegister(metrics.NewCollector(live))
	families, _ := prometheus.DefaultGatherer.Gather()
	for _, f := range families {
		if f.GetName() == "chime_draining" {
			fmt.Println(f.GetName(), f.GetMetric()[0].GetGauge().GetValue())
		}
	}
	// Output: chime_draining 0
}

// Each transport and dialect that is listed can be spoken, and no other.
func TestEachTransportIsCountedInEachOfItsDialects(t *testing.T) {
	raw.InBubble(t, &http.Server{}, nil, func(t *testing.T, s *raw.Site) {
		want := map[string]float64{}
		for kind, open := range map[string]func(){
			"phoenix_v2,websocket": func() { s.Phoenix(t) },
			"phoenix_v1,websocket": func() { s.Upgrade(t, "/socket/websocket").Opened() },
			"amber,websocket":      func() { s.Upgrade(t, "/socket").Opened() },
			"chime,websocket":      func() { s.Chime(t) },
			"bare,sse":             func() { s.Bare(t, "join=hall:1") },
			"chime,sse":            func() { s.Half(t) },
			"chime,longpoll":       func() { s.Poll(t) },
			"phoenix_v2,longpoll":  func() { s.Request(t, http.MethodGet, "/socket/longpoll?vsn=2.0.0", "", "Connection: close") },
			"phoenix_v1,longpoll":  func() { s.Request(t, http.MethodGet, "/socket/longpoll?vsn=1.0.0", "", "Connection: close") },
		} {
			open()
			want["chime_opens_total{"+kind+"}"] = 1
		}
		wantThese(t, s.Live, want)
		for name, n := range gather(t, s.Live) {
			if strings.HasPrefix(name, "chime_opens_total{") && n == 0 {
				t.Errorf("%s is listed, and nobody can speak it", name)
			}
		}
	})
}

// A client that does not read falls behind, and the history goes on without it.
func TestAMemberThatTheHistoryOvertakesIsCounted(t *testing.T) {
	limits := chime.WithLimits(chime.Limits{MessageBytes: 1 << 10, QueueBytes: 4 << 10})
	raw.InBubble(t, &http.Server{}, []chime.Option{limits}, func(t *testing.T, s *raw.Site) {
		ws := s.Phoenix(t).Join("book:1", "late")
		// The history keeps 100 of them. With more than two slices of 64 KiB a publisher would pause, and the end of the
		// last member wait for it, by a lock: then no time passes in a bubble.
		for n := range 120 {
			if err := s.Live.Broadcast(t.Context(), "book:1", "new", map[string]string{"text": strings.Repeat("x", 1000)}); err != nil {
				t.Fatalf("message %d: %v", n, err)
			}
		}
		for !strings.Contains(ws.Next(), `"phx_error"`) {
		}
		wantThese(t, s.Live, map[string]float64{"chime_overruns_total{book:{id}}": 1, "chime_slow_total{queue}": 0})
	})
}
