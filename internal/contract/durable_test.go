package contract

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	needs "github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/internal/raw"
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

func (s *watchedStore) Append(ctx context.Context, topic string, m store.Message, keep store.Retention, announce func(store.Message)) (uint64, error) {
	if s.fails.Load() {
		return 0, fmt.Errorf("append to %q: %w", topic, boltstore.ErrFailed)
	}
	return s.Store.Append(ctx, topic, m, keep, announce)
}

func openWatched(t *testing.T) *watchedStore {
	t.Helper()
	return &watchedStore{Store: OpenFile(t)}
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

// All who come at once, as after a restart, are given what one of them has read:
// what the tail of a topic holds, and what it does not.
func TestManyJoinersReadTheDiskOnce(t *testing.T) {
	for name, c := range map[string]struct {
		joiners, replay, size int
		behind                int // 0: no position is asked for
		reads                 int64
	}{
		"the newest":                        {joiners: needs.Rounds(1000, 10_000), replay: 5, size: 10, reads: 1},
		"all since a position":              {joiners: 1000, size: 10, behind: 60, reads: 1},
		"more than a tail holds":            {joiners: 1000, size: 10, behind: 100, reads: 2},
		"larger messages than a tail holds": {joiners: 500, replay: 50, size: 8 << 10, reads: 3},
	} {
		t.Run(name, func(t *testing.T) {
			kept := openWatched(t)
			live := chime.NewRouter(chime.WithAnonymous(), chime.WithStore(kept))
			live.Channel("room:{id}", reading{}, channel.History{Keep: 200, Replay: c.replay})
			offsets := make([]uint64, 200)
			var filling sync.WaitGroup // all at once: they share commits
			for n := range offsets {
				filling.Go(func() {
					m := store.Message{Event: "new", Payload: fmt.Appendf(nil, `{"n":%d,"x":%q}`, n, strings.Repeat("x", c.size))}
					if _, err := kept.Append(t.Context(), "room:1", m, store.Retention{Keep: 200}, func(m store.Message) { offsets[n] = m.Offset }); err != nil {
						t.Error(err)
					}
				})
			}
			filling.Wait()
			slices.Sort(offsets)
			since := offsets[199-c.behind] // of the last that they have
			ctx, leave := context.WithCancel(t.Context())
			var informed, served sync.WaitGroup
			for range c.joiners {
				informed.Add(1)
				served.Go(func() {
					r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/sse?join=room:1", nil)
					if c.behind > 0 {
						r.Header.Set("Last-Event-ID", fmt.Sprintf("%s:%d", kept.Epoch(), since))
					}
					live.ServeHTTP(&earful{head: http.Header{}, left: 1 + max(c.behind, c.replay), done: informed.Done}, r)
				})
			}
			all := make(chan struct{})
			go func() { informed.Wait(); close(all) }()
			raw.Await(t, all, "everybody's replay")
			if got := kept.reads.Load(); got > c.reads {
				t.Errorf("the store was read %d times, want %d", got, c.reads)
			}
			leave()
			served.Wait()
			end, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := live.Shutdown(end); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
		})
	}
}

// Who broadcasts is told, whoever it is, and nobody sees what is not kept.
func TestABroadcastThatIsNotKeptIsToldAndNotShown(t *testing.T) {
	for _, tr := range Transports {
		t.Run(tr.Name+"/"+tr.Dialect, func(t *testing.T) {
			kept := openWatched(t)
			s := newStage(t, &behaviour{}, tr, kept, nil)
			result := make(chan error, 1)
			s.On("try", func(ctx context.Context, sock *channel.Socket, m channel.Message) (any, error) {
				err := sock.Rebroadcast(ctx, m)
				result <- err
				return nil, err
			})
			ann, bob := s.Join("ann", "room:1"), s.Join("bob", "room:1")

			kept.fails.Store(true)
			if err := s.live.Broadcast(s.Context(), "room:1", "new", obj{"n": 1}); !errors.Is(err, boltstore.ErrFailed) {
				t.Errorf("Broadcast: got %v, want %v", err, boltstore.ErrFailed)
			}
			if tr.sends {
				ref := ann.Push("try", obj{"n": 2})
				if err := raw.Await(t, result, "the error of the broadcast"); !errors.Is(err, boltstore.ErrFailed) {
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
