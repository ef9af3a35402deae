package local_test

import (
	"errors"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/brokertest"
	"github.com/go-chime/chime/broker/local"
	"github.com/go-chime/chime/internal/leak"
	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestLocal(t *testing.T) {
	brokertest.Run(t, func(t *testing.T) broker.Broker {
		s := store.NewMemory()
		t.Cleanup(func() { _ = s.Close() })
		return local.New(s)
	})
}

// sink counts what it is told. Announcing blocks while it is held.
type sink struct {
	blocking  sync.Mutex
	published atomic.Int64
	last      atomic.Uint64 // offset
	topic     string        // if set, the one that is held
}

func (s *sink) Published(p broker.Publication) {
	if p.Topic == s.topic {
		s.blocking.Lock()
		defer s.blocking.Unlock()
	}
	s.published.Add(1)
	s.last.Store(p.Offset)
}
func (s *sink) Erased(string, store.Position) {}
func (s *sink) Lost(string)                   {}

func TestWithoutAStoreNothingIsRetained(t *testing.T) {
	b := local.New(nil)
	var s sink
	b.Start(&s)
	if b.History() != nil {
		t.Errorf("history: got %v, want none", b.History())
	}
	if _, err := b.Publish(t.Context(), broker.Publication{Topic: "a"}, nil); err != nil || s.published.Load() != 1 {
		t.Errorf("got %v and %d announcements, want 1", err, s.published.Load())
	}
}

func TestPublishReturnsWhenAllIsAnnounced(t *testing.T) {
	b := local.New(store.NewMemory())
	var s sink
	b.Start(&s)
	if err := b.Subscribe(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				at, err := b.Publish(t.Context(), broker.Publication{Topic: "a"}, &store.Retention{Keep: 10})
				if err != nil {
					t.Error(err)
				}
				if last := s.last.Load(); last < at.Offset {
					t.Errorf("announced up to %d when Publish returned %d", last, at.Offset)
				}
			}
		})
	}
	wg.Wait()
	if n := s.published.Load(); n != 1600 {
		t.Errorf("announced %d messages, want 1600", n)
	}
}

// Whoever publishes with a key that another one is using at that moment waits for the
// announcement of that one.
func TestPublishReturnsWhenTheFirstIsAnnounced(t *testing.T) {
	b := local.New(store.NewMemory())
	s := sink{topic: "a"}
	b.Start(&s)
	if err := b.Subscribe(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	p := broker.Publication{Topic: "a", Message: store.Message{Key: "k"}}
	s.blocking.Lock()
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = b.Publish(t.Context(), p, &store.Retention{}) })
	for page, err := (store.Page{}), error(nil); len(page.Messages) == 0; page, err = b.History().Read(t.Context(), "a", store.Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		runtime.Gosched()
	}
	wg.Go(func() {
		at, err := b.Publish(t.Context(), p, &store.Retention{})
		if last := s.last.Load(); err != nil || last != at.Offset {
			t.Errorf("publish again: got %v, %v, and announced up to %d", at, err, last)
		}
	})
	for range 1000 { // in which it would return
		runtime.Gosched()
	}
	s.blocking.Unlock()
	wg.Wait()
	if n := s.published.Load(); n != 1 {
		t.Errorf("announced %d messages, want 1", n)
	}
}

// A topic whose members take long to be sent a message must delay no other: the
// goroutine that writes to the disk writes for all.
func TestAFanOutDelaysNoOtherTopic(t *testing.T) {
	kept, err := boltstore.Open(filepath.Join(t.TempDir(), "chime.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = kept.Close() }()
	b := local.New(kept)
	s := sink{topic: "busy"}
	b.Start(&s)
	for _, topic := range []string{"busy", "quiet"} {
		if err := b.Subscribe(t.Context(), topic); err != nil {
			t.Fatal(err)
		}
	}
	s.blocking.Lock()
	var wg sync.WaitGroup
	publish := func(topic string) {
		if _, err := b.Publish(t.Context(), broker.Publication{Topic: topic}, &store.Retention{Keep: 10}); err != nil {
			t.Error(err)
		}
	}
	for range 10 {
		wg.Go(func() { publish("busy") })
	}
	done := make(chan struct{})
	wg.Go(func() {
		defer close(done)
		for range 10 {
			publish("quiet")
		}
	})
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("publishing in one topic waits for the announcements of another")
	}
	s.blocking.Unlock()
	wg.Wait()
	if n := s.published.Load(); n != 20 {
		t.Errorf("announced %d messages, want 20", n)
	}
}

// sick is a store that says that it takes nothing.
type sick struct {
	store.Store
	why error
}

func (s sick) Health() error { return s.why }

func TestHealthIsThatOfTheStore(t *testing.T) {
	why := errors.New("ill")
	for name, tt := range map[string]struct {
		store store.Store
		want  error
	}{
		"none":       {nil, nil},
		"says none":  {store.NewMemory(), nil},
		"says it is": {sick{store.NewMemory(), why}, why},
	} {
		rt := chime.NewRouter(chime.WithAnonymous(), chime.WithBroker(local.New(tt.store)))
		if err := rt.Health(t.Context()); !errors.Is(err, tt.want) || tt.want == nil && err != nil {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
		if err := rt.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestMessagesSurviveWhatTheStoreSays(t *testing.T) {
	file, err := boltstore.Open(filepath.Join(t.TempDir(), "history.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, c := range []struct {
		store store.Store
		want  broker.Survival
	}{{nil, broker.SurvivesNothing}, {store.NewMemory(), broker.SurvivesNothing}, {file, broker.SurvivesKill | broker.SurvivesPower}} {
		if got := local.New(c.store).Caps(); got != (broker.Caps{Survives: c.want}) {
			t.Errorf("%T: got %+v, want that messages survive %v, on this node", c.store, got, c.want)
		}
	}
}

func TestAtRandomItIsLikeMemory(t *testing.T) {
	file, err := boltstore.Open(filepath.Join(t.TempDir(), "history.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	brokertest.RunModel(t, local.New(file), brokertest.Random{Seed: need.Seed(t), Steps: need.Rounds(1500, 6000), Varies: true})
}
