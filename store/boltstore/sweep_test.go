package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore/boltfile"
	"github.com/go-chime/chime/store/boltstore/internal/filetest"
	"github.com/go-chime/chime/store/boltstore/internal/tree"
)

// Nobody comes by, nothing is said: what has aged goes all the same.
func TestWhatAgesInSilenceIsDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := begun(t)
		sayN(t, s, 500, store.Retention{Age: time.Hour})
		forever := say(t, s, "b", "forever", store.Retention{})
		time.Sleep(59 * time.Minute)
		synctest.Wait()
		if n := messages(t, s); n != 501 {
			t.Errorf("after 59 minutes: got %d messages, want all 501", n)
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if n := messages(t, s); n != 1 {
			t.Errorf("after 64 minutes: got %d messages, want the one that does not age", n)
		}
		time.Sleep(31 * 24 * time.Hour)
		synctest.Wait()
		for bucket, want := range map[string]int{"topics": 1, "messages": 2, "due": 0} {
			if n := keys(t, s, bucket); n != want {
				t.Errorf("after a month: got %d %s, want %d", n, bucket, want)
			}
		}

		// That there was something is not forgotten with the topic.
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = opened(t, pathOf(s))
		for _, topic := range []string{"a", "new"} {
			if p := read(t, s, topic, store.Range{}); p.Complete {
				t.Errorf("%s from 0 on, a month later: got complete", topic)
			}
		}
		if p := read(t, s, "b", store.Range{}); len(p.Messages) != 1 || !filetest.Same(p.Messages[0], forever) || !p.Complete {
			t.Errorf("what is kept for good: got %+v", p)
		}
	})
}

// What has aged is looked for in each commit: a store that always has something
// to commit does not keep it.
func TestWhatAgesUnderLoadIsDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := begun(t)
		const old, commits = 300, 10
		for i := range old {
			say(t, s, fmt.Sprint("old:", i%10), "x", store.Retention{Age: time.Hour})
		}
		synctest.Wait()
		left, n := make(chan int, 1), 0
		var busy func() // has the committer find something else whenever it looks
		busy = func() {
			if n++; n > commits {
				left <- messages(t, s)
				return
			}
			o := &op{change: func(*tree.Plan) error { return nil }, committed: busy, done: make(chan error, 1)}
			if _, err := s.queue.put(o); err != nil {
				t.Error(err)
			}
			time.Sleep(10 * time.Minute) // as a slow disk would
		}
		busy()
		if got := <-left; got != 0 {
			t.Errorf("after %d commits, of which the last were due: got %d messages in the file, want none", commits, got)
		}
	})
}

// A Redact finds that much has aged, before the sweep has come to it.
func TestWhatHasAgedCanNotBeRedacted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := begun(t)
		old := sayN(t, s, 100, store.Retention{Age: 30 * time.Second})
		time.Sleep(20 * time.Second)
		say(t, s, "a", "younger", store.Retention{Age: 30 * time.Second})
		time.Sleep(10 * time.Second)
		if err := s.Redact(t.Context(), "a", old[4].Offset); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("redact what has aged: got %v, want %v", err, store.ErrNotFound)
		}
		say(t, s, "b", "new", store.Retention{})
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if n := messages(t, s); n != 1 {
			t.Errorf("two minutes later: got %d messages, want 1", n)
		}
	})
}

// What keeps a topic from being swept is logged when nothing waits for the log: a
// handler may write to a history itself.
func TestWritersDoNotWaitForTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &onWarn{Handler: slog.DiscardHandler}
		path := filepath.Join(t.TempDir(), "chime.db")
		s, err := Open(path, Options{Log: slog.New(log)})
		if err != nil {
			t.Fatal(err)
		}
		logged := make(chan string, 100)
		log.do = func(message string) {
			logged <- message
			go func() { _, _ = s.Append(context.Background(), "b", store.Message{}, store.Retention{}, nil) }()
		}
		sayN(t, s, 10, store.Retention{Age: time.Hour})
		db, _ := s.file.Bolt()
		if err := db.Update(func(tx *bolt.Tx) error {
			due := tx.Bucket([]byte("due"))
			k, _ := due.Cursor().First()
			return due.Put(slices.Clone(k), []byte("damaged"))
		}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if message := <-logged; message != "history could not be swept" {
			t.Errorf("logged: got %q", message)
		}
		if len(logged) > 0 {
			t.Errorf("logged %d times more, want once", len(logged))
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := boltfile.Verify(path); !errors.Is(err, ErrDamaged) {
			t.Errorf("verify: got %v, want %v", err, ErrDamaged)
		}
	})
}

// onWarn calls do at each warning, with its message.
type onWarn struct {
	slog.Handler
	do func(message string)
}

func (h *onWarn) Enabled(context.Context, slog.Level) bool { return true }

func (h *onWarn) Handle(_ context.Context, r slog.Record) error {
	if r.Level == slog.LevelWarn {
		h.do(r.Message)
	}
	return nil
}

// A topic that keeps little does not hold on to much more.
func TestFewAreKeptInTheFile(t *testing.T) {
	s := begun(t)
	sayN(t, s, 300, store.Retention{Keep: 3})
	if n := messages(t, s); n > 3+8 {
		t.Errorf("messages: got %d, want the 3 that are kept and at most 8 that wait to be deleted", n)
	}
}

// What was redacted is in no record any more when Redact returns.
func TestRedactedIsGone(t *testing.T) {
	s := begun(t)
	sayN(t, s, 10, store.Retention{})
	m := say(t, s, "a", "regretted", store.Retention{})
	if err := s.Redact(t.Context(), "a", m.Offset); err != nil {
		t.Fatal(err)
	}
	if err := s.file.View(func(tx *bolt.Tx) error {
		return tx.Bucket([]byte("messages")).ForEach(func(k, v []byte) error {
			if bytes.Contains(v, []byte("regretted")) {
				t.Errorf("the record at % x has it", k)
			}
			return nil
		})
	}); err != nil {
		t.Fatal(err)
	}
}

// A backup is one moment of the store, whatever is said meanwhile.
func TestBackupWhileInUse(t *testing.T) {
	s := begun(t)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := s.Append(context.Background(), "a", store.Message{Payload: []byte("x")}, store.Retention{Keep: 100}, nil); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 3 {
		top := read(t, s, "a", store.Range{Newest: true, Limit: 1}).Top
		path := filepath.Join(t.TempDir(), "copy.db")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Backup(f); err != nil {
			t.Error(err)
		}
		_ = f.Close()
		if p := read(t, opened(t, path), "a", store.Range{Newest: true}); p.Top < top {
			t.Errorf("top of the copy: got %d, want what it was before, %d, or more", p.Top, top)
		}
	}
	close(stop)
	wg.Wait()
}

func keys(t *testing.T, s *Store, bucket string) (n int) {
	t.Helper()
	if err := s.file.View(func(tx *bolt.Tx) error {
		n = tx.Bucket([]byte(bucket)).Stats().KeyN
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

// messages counts those in the file, visible or not: each topic has a head beside them.
func messages(t *testing.T, s *Store) int {
	t.Helper()
	return keys(t, s, "messages") - keys(t, s, "topics")
}
