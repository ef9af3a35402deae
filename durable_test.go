package chime_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore"
)

// watchedStore counts reads, and fails when it is told to.
type watchedStore struct {
	store.Store
	reads atomic.Int64
	fails atomic.Bool
}

func (s *watchedStore) Read(ctx context.Context, topic string, r store.Range) (store.Page, error) {
	s.reads.Add(1)
	return s.Store.Read(ctx, topic, r)
}

func (s *watchedStore) Append(ctx context.Context, topic string, m store.Message, keep store.Retention, announce func(store.Message)) error {
	if s.fails.Load() {
		return fmt.Errorf("append to %q: %w", topic, boltstore.ErrFailed)
	}
	return s.Store.Append(ctx, topic, m, keep, announce)
}

func openWatched(t *testing.T) *watchedStore {
	t.Helper()
	s, err := boltstore.Open(filepath.Join(t.TempDir(), "chime.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return &watchedStore{Store: s}
}

// earful is the response of a stream that is read in memory, up to a number of events.
type earful struct {
	head http.Header
	mu   sync.Mutex
	left int
	done func()
}

func (l *earful) Header() http.Header              { return l.head }
func (l *earful) WriteHeader(int)                  {}
func (l *earful) FlushError() error                { return nil }
func (l *earful) SetWriteDeadline(time.Time) error { return nil }
func (l *earful) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	had := l.left > 0
	if l.left -= bytes.Count(b, []byte(`"room:1","`)); had && l.left <= 0 {
		l.done()
	}
	return len(b), nil
}

// All who come at once, as after a restart, are given what one of them has read.
func TestManyJoinersReadTheDiskOnce(t *testing.T) {
	const joiners, replay = 10_000, 5
	kept := openWatched(t)
	live := chime.NewRouter(chime.WithAnonymous(), chime.WithStore(kept))
	live.Channel("room:{id}", quietRoom{}, channel.History{Keep: 100, Replay: replay})
	for n := range replay {
		if err := kept.Append(t.Context(), "room:1", store.Message{Event: "new", Payload: fmt.Appendf(nil, `{"n":%d}`, n)}, store.Retention{Keep: 100}, nil); err != nil {
			t.Fatal(err)
		}
	}
	ctx, leave := context.WithCancel(t.Context())
	var told, gone sync.WaitGroup
	for range joiners {
		told.Add(1)
		gone.Go(func() {
			r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/sse?join=room:1", nil)
			live.ServeHTTP(&earful{head: http.Header{}, left: 1 + replay, done: told.Done}, r)
		})
	}
	all := make(chan struct{})
	go func() { told.Wait(); close(all) }()
	await(t, all, "everybody's replay")
	if got := kept.reads.Load(); got != 1 {
		t.Errorf("the store was read %d times, want once", got)
	}
	leave()
	gone.Wait()
	end, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := live.Shutdown(end); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// Who broadcasts is told, whoever it is, and nobody sees what is not kept.
func TestABroadcastThatIsNotKeptIsToldAndNotShown(t *testing.T) {
	for _, w := range wires {
		t.Run(w.transport+"/"+w.dialect, func(t *testing.T) {
			kept := openWatched(t)
			s := newStage(t, &behaviour{}, w, kept)
			told := make(chan error, 1)
			s.On("try", func(ctx context.Context, sock *channel.Socket, m channel.Message) (any, error) {
				err := sock.Rebroadcast(ctx, m)
				told <- err
				return nil, err
			})
			ann, bob := s.Join("ann", "room:1"), s.Join("bob", "room:1")

			kept.fails.Store(true)
			if err := s.live.Broadcast(s.Context(), "room:1", "new", obj{"n": 1}); !errors.Is(err, boltstore.ErrFailed) {
				t.Errorf("Broadcast: got %v, want %v", err, boltstore.ErrFailed)
			}
			if w.sends {
				ref := ann.Push("try", obj{"n": 2})
				if err := await(t, told, "the error of the broadcast"); !errors.Is(err, boltstore.ErrFailed) {
					t.Errorf("Rebroadcast: got %v, want %v", err, boltstore.ErrFailed)
				}
				ann.WantError(ref, "internal")
			}
			kept.fails.Store(false)
			s.BroadcastMany("room:1", 3, 3)
			ann.WantMany(3, 3)
			bob.WantMany(3, 3)
			late, _, err := s.live.History(s.Context(), "room:1", 10)
			if err != nil || len(late) != 1 {
				t.Errorf("History: got %d messages, %v; want the one", len(late), err)
			}
		})
	}
}
