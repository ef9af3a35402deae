package boltstore

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore/internal/filetest"
	"github.com/go-chime/chime/store/storetest"
)

// within opens a store with bounds.
func within(t *testing.T, path string, o Options) *Store {
	t.Helper()
	o.Log = slog.New(slog.DiscardHandler)
	s, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		filetest.Sound(t, path)
	})
	return s
}

// Whoever names topics without end loses these, and pushes out nothing that has more
// messages than they have, nor what is in another group.
func TestNamesWithoutEndPushOutNoOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most, names = 64, 300
		path := filepath.Join(t.TempDir(), "chime.db")
		s := within(t, path, Options{MaxTopics: most})
		kept := map[string][]store.Message{}
		for i := range 10 {
			room := fmt.Sprint("chat_room:honest", i)
			for range 2 {
				kept[room] = append(kept[room], say(t, s, room, "x", store.Retention{}))
			}
			order := fmt.Sprint("order:", i)
			kept[order] = append(kept[order], say(t, s, order, "x", store.Retention{}))
		}
		refused := 0
		for i := range names {
			time.Sleep(10 * time.Second)
			_, err := s.Append(t.Context(), fmt.Sprint("chat_room:", i), store.Message{}, store.Retention{}, nil)
			if errors.Is(err, store.ErrFull) {
				refused++
			} else if err != nil {
				t.Fatal(err)
			}
			if n := keys(t, s, "topics"); n > most {
				t.Fatalf("%d topics are known, want at most %d", n, most)
			}
		}
		if refused > 0 {
			t.Errorf("%d topics were refused, want none: older ones may go", refused)
		}
		for name, m := range kept {
			if p := read(t, s, name, store.Range{}); len(p.Messages) != len(m) {
				t.Errorf("%s: got %d messages, want %d", name, len(p.Messages), len(m))
			}
		}
		if n := keys(t, s, "topics"); n < most*3/4 {
			t.Errorf("%d topics are known, want most of %d", n, most)
		}
		if p := read(t, s, "chat_room:0", store.Range{}); p.Complete {
			t.Error("chat_room:0, which went: got complete")
		}
	})
}

// Where nothing may go, a topic that is new is refused, and Health says so; those that
// are known go on.
func TestWhereNoTopicMayGoNewOnesAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 16
		path := filepath.Join(t.TempDir(), "chime.db")
		s := within(t, path, Options{MaxTopics: most})
		for i := range most {
			say(t, s, fmt.Sprint("room:", i), "x", store.Retention{})
		}
		synctest.Wait()
		_, err := s.Append(t.Context(), "room:new", store.Message{}, store.Retention{}, func(store.Message) { t.Error("announced") })
		filetest.Explains(t, err, path, store.ErrFull, "allow more")
		if errors.Is(err, ErrFailed) {
			t.Errorf("got %v", err)
		}
		if err := s.Health(); !errors.Is(err, store.ErrFull) {
			t.Errorf("health: got %v, want %v", err, store.ErrFull)
		}
		say(t, s, "room:3", "y", store.Retention{})

		time.Sleep(2 * time.Minute)
		say(t, s, "room:3", "z", store.Retention{}) // has the store look
		synctest.Wait()
		say(t, s, "room:new", "x", store.Retention{})
		synctest.Wait()
		if err := s.Health(); err != nil {
			t.Errorf("health, when topics may go: got %v", err)
		}
		if p := read(t, s, "room:3", store.Range{}); len(p.Messages) != 3 {
			t.Errorf("room:3: got %d messages, want 3", len(p.Messages))
		}
	})
}

// However much is said, the file stays within its bound; what makes room are the
// topics with the fewest messages, or the oldest messages of a topic with more than its
// share.
func TestAFileStaysWithinItsBytes(t *testing.T) {
	for name, topic := range map[string]func(i int) string{
		"one topic":   func(int) string { return "room:loud" },
		"many topics": func(i int) string { return fmt.Sprint("room:", i) },
		"some topics": func(i int) string { return fmt.Sprint("room:", i%300) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it waits for the disk
			synctest.Test(t, func(t *testing.T) {
				const most, size = 2 << 20, 20_000
				path := filepath.Join(t.TempDir(), "chime.db")
				s := within(t, path, Options{MaxBytes: most})
				for range 50 {
					say(t, s, "room:quiet", "x", store.Retention{})
				}
				refused := 0
				for i := range 3 * most / size {
					time.Sleep(time.Second)
					_, err := s.Append(t.Context(), topic(i), store.Message{Payload: make([]byte, size)}, store.Retention{}, nil)
					if errors.Is(err, store.ErrFull) {
						refused++
					} else if err != nil {
						t.Fatal(err)
					}
				}
				if refused > 50 {
					t.Errorf("%d were refused, want few", refused)
				}
				info, err := os.Stat(path)
				if err != nil {
					t.Fatal(err)
				}
				if got := info.Size(); got > 2*most+8<<20 { // with what it grows by at one time
					t.Errorf("the file has %d bytes, want it within %d", got, most)
				}
				if p := read(t, s, "room:quiet", store.Range{}); len(p.Messages) != 50 {
					t.Errorf("room:quiet: got %d messages, want 50", len(p.Messages))
				}
			})
		})
	}
}

// What was known before counts when the file is opened again.
func TestBoundsHoldForWhatWasThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "chime.db")
		s, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			say(t, s, fmt.Sprint("room:", i), "x", store.Retention{})
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = within(t, path, Options{MaxTopics: 20, MaxBytes: 1})
		for _, topic := range []string{"room:3", "room:new"} {
			if _, err := s.Append(t.Context(), topic, store.Message{}, store.Retention{}, nil); !errors.Is(err, store.ErrFull) {
				t.Errorf("append to %s: got %v, want %v", topic, err, store.ErrFull)
			}
		}
		if p := read(t, s, "room:3", store.Range{}); len(p.Messages) != 1 {
			t.Errorf("room:3: got %d messages, want 1", len(p.Messages))
		}
		if err := s.Forget(t.Context(), "room:3"); err != nil {
			t.Errorf("forget: %v", err)
		}
	})
}

func TestTheFileIsBoundedInTopics(t *testing.T) {
	storetest.RunBounded(t, func(t *testing.T, topics int) store.Store {
		s, err := Open(filepath.Join(t.TempDir(), "chime.db"), Options{MaxTopics: topics, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		return s
	})
}
