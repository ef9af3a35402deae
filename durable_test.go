package chime_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore"
	"github.com/go-chime/chime/store/boltstore/boltfile"
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

// openFile opens a new store in a file. At the end of the test it is closed, and
// the file verified.
func openFile(t *testing.T) *boltstore.Store {
	t.Helper()
	path := filepath.Join(t.TempDir(), "chime.db")
	s, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if _, err := boltfile.Verify(path); err != nil {
			t.Error(err)
		}
	})
	return s
}

func openWatched(t *testing.T) *watchedStore {
	t.Helper()
	return &watchedStore{Store: openFile(t)}
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
		"the newest":                        {joiners: 10_000, replay: 5, size: 10, reads: 1},
		"all since a position":              {joiners: 1000, size: 10, behind: 60, reads: 1},
		"more than a tail holds":            {joiners: 1000, size: 10, behind: 100, reads: 2},
		"larger messages than a tail holds": {joiners: 500, replay: 50, size: 8 << 10, reads: 3},
	} {
		t.Run(name, func(t *testing.T) {
			kept := openWatched(t)
			live := chime.NewRouter(chime.WithAnonymous(), chime.WithStore(kept))
			live.Channel("room:{id}", quietRoom{}, channel.History{Keep: 200, Replay: c.replay})
			var since uint64 // the offset of the last that they have
			for n := range 200 {
				m := store.Message{Event: "new", Payload: fmt.Appendf(nil, `{"n":%d,"x":%q}`, n, strings.Repeat("x", c.size))}
				if err := kept.Append(t.Context(), "room:1", m, store.Retention{Keep: 200}, func(m store.Message) {
					if n == 199-c.behind {
						since = m.Offset
					}
				}); err != nil {
					t.Fatal(err)
				}
			}
			ctx, leave := context.WithCancel(t.Context())
			var told, gone sync.WaitGroup
			for range c.joiners {
				told.Add(1)
				gone.Go(func() {
					r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/sse?join=room:1", nil)
					if c.behind > 0 {
						r.Header.Set("Last-Event-ID", fmt.Sprintf("%s:%d", kept.Epoch(), since))
					}
					live.ServeHTTP(&earful{head: http.Header{}, left: 1 + max(c.behind, c.replay), done: told.Done}, r)
				})
			}
			all := make(chan struct{})
			go func() { told.Wait(); close(all) }()
			await(t, all, "everybody's replay")
			if got := kept.reads.Load(); got > c.reads {
				t.Errorf("the store was read %d times, want %d", got, c.reads)
			}
			leave()
			gone.Wait()
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
