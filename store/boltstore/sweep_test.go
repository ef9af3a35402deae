package boltstore

import (
	"bytes"
	"context"
	"errors"
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
)

// Nobody comes by, nothing is said: what has aged goes all the same.
func TestWhatAgesInSilenceIsDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := begun(t, Options{})
		sayN(t, s, 500, store.Retention{Age: time.Hour})
		forever := say(t, s, "b", "forever", store.Retention{})
		time.Sleep(59 * time.Minute)
		synctest.Wait()
		if n := keys(t, s, logBucket); n != 501 {
			t.Errorf("after 59 minutes: got %d records, want all 501", n)
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if n := keys(t, s, logBucket); n != 1 {
			t.Errorf("after 64 minutes: got %d records, want the one that does not age", n)
		}
		if n := keys(t, s, indexBucket); n != 1 {
			t.Errorf("after 64 minutes: got %d blocks, want 1", n)
		}
		time.Sleep(31 * 24 * time.Hour)
		synctest.Wait()
		if n := keys(t, s, topicBucket); n != 1 {
			t.Errorf("after a month: got %d topics, want 1", n)
		}

		// That there was something is not forgotten with the topic.
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = opened(t, s.path, Options{})
		for _, topic := range []string{"a", "new"} {
			if p := read(t, s, topic, store.Range{}); p.Complete {
				t.Errorf("%s from 0 on, a month later: got complete", topic)
			}
		}
		if p := read(t, s, "b", store.Range{}); len(p.Messages) != 1 || !same(p.Messages[0], forever) || !p.Complete {
			t.Errorf("what is kept for good: got %+v", p)
		}
	})
}

// Much has aged and a Redact has noticed, but readers were not told yet: the
// sweep waits for that, and the committer must not go round meanwhile.
func TestSweepOfWhatReadersMaySeeWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := begun(t, Options{sweepAfter: 8})
		synctest.Wait() // the first look around
		old := sayN(t, s, 100, store.Retention{Age: 30 * time.Second})
		time.Sleep(40 * time.Second)
		if err := s.Redact(t.Context(), "a", old[4].Offset); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("redact what has aged: got %v, want %v", err, store.ErrNotFound)
		}
		say(t, s, "b", "new", store.Retention{})
		s.gather()
		if b, _, _ := s.cut(); !b.empty() {
			t.Fatal("nothing waits, and there is something to commit")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := keys(t, s, logBucket); n != 1 {
			t.Errorf("after the next look around: got %d records, want 1", n)
		}
	})
}

// A sweep that begins reads the index of what it takes; writers need not wait
// for the disk meanwhile. Here a block can't be read, and who is told so writes.
func TestWritersDoNotWaitForASweepToBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := make(chan struct{})
		log := &onWarn{Handler: slog.DiscardHandler}
		s, err := Open(filepath.Join(t.TempDir(), "chime.db"), Options{WriteBehind: true, Log: slog.New(log)})
		if err != nil {
			t.Fatal(err)
		}
		once := sync.OnceFunc(func() {
			defer close(told)
			if !s.plan.TryLock() {
				t.Error("it reads with the plan locked")
				return
			}
			s.plan.Unlock()
			say(t, s, "b", "meanwhile", store.Retention{})
		})
		log.do = func(string) { once() }
		sayN(t, s, 300, store.Retention{Age: time.Hour})
		synctest.Wait()
		damageIndex(t, s)
		time.Sleep(2 * time.Hour)
		<-told
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// Nor for the log: what keeps a topic from being trimmed is told when no lock
// is held, whether a look around has found it or an append.
func TestWritersDoNotWaitForTheLog(t *testing.T) {
	tests := []struct {
		name string
		keep store.Retention
		find func(*testing.T, *Store)
	}{
		{"append", store.Retention{}, func(t *testing.T, s *Store) {
			say(t, s, "a", "one of less", store.Retention{Keep: 150})
		}},
		// It looks because of c, when the first half of a block has aged.
		{"look", store.Retention{Age: time.Hour}, func(t *testing.T, s *Store) {
			say(t, s, "c", "aged soon", store.Retention{Age: 45 * time.Minute})
			time.Sleep(46 * time.Minute)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := &onWarn{Handler: slog.DiscardHandler}
				s, err := Open(filepath.Join(t.TempDir(), "chime.db"), Options{WriteBehind: true, Log: slog.New(log)})
				if err != nil {
					t.Fatal(err)
				}
				told := make(chan string, 100)
				log.do = func(message string) {
					told <- message
					if !s.plan.TryLock() {
						t.Errorf("%q is logged with the plan locked", message)
						return
					}
					s.plan.Unlock()
					say(t, s, "b", "meanwhile", store.Retention{})
				}
				for range 2 {
					sayN(t, s, 100, test.keep) // the first block has some of both
					time.Sleep(10 * time.Minute)
				}
				damageIndex(t, s)
				test.find(t, s)
				synctest.Wait()
				if message := <-told; message != "history could not be trimmed" {
					t.Errorf("logged: got %q", message)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// damageIndex has the first block in the file be unreadable, and none in memory.
func damageIndex(t *testing.T, s *Store) {
	t.Helper()
	say(t, s, "b", "regretted", store.Retention{})
	if err := s.Forget(t.Context(), "b"); err != nil { // with a checkpoint
		t.Fatal(err)
	}
	if err := s.db.Update(func(tx *bolt.Tx) error {
		k, _ := tx.Bucket(indexBucket).Cursor().First()
		return tx.Bucket(indexBucket).Put(slices.Clone(k), []byte("damaged"))
	}); err != nil {
		t.Fatal(err)
	}
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
	s := begun(t, Options{sweepAfter: 100, checkpointEvery: 100})
	sayN(t, s, 3000, store.Retention{Keep: 3})
	if n := keys(t, s, logBucket); n > 3+100+3*blockLeast {
		t.Errorf("records: got %d, want about the 3 that are kept and the 100 that may wait", n)
	}
}

// What was redacted is in no record any more when Redact returns.
func TestRedactedIsGone(t *testing.T) {
	s := begun(t, Options{})
	sayN(t, s, 10, store.Retention{})
	m := say(t, s, "a", "regretted", store.Retention{})
	if err := s.Redact(t.Context(), "a", m.Offset); err != nil {
		t.Fatal(err)
	}
	_ = s.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(logBucket).ForEach(func(k, v []byte) error {
			if bytes.Contains(v, []byte("regretted")) {
				t.Errorf("the record at % x has it", k)
			}
			return nil
		})
	})
}

// A backup is one moment of the store, whatever is said meanwhile.
func TestBackupWhileInUse(t *testing.T) {
	s := begun(t, Options{checkpointEvery: 50, sweepAfter: 50})
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
				if err := s.Append(context.Background(), "a", store.Message{Payload: []byte("x")}, store.Retention{Keep: 100}, nil); err != nil {
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
		if p := read(t, opened(t, path, Options{}), "a", store.Range{Newest: true}); p.Top < top {
			t.Errorf("top of the copy: got %d, want what it was before, %d, or more", p.Top, top)
		}
	}
	close(stop)
	wg.Wait()
}

func keys(t *testing.T, s *Store, bucket []byte) (n int) {
	t.Helper()
	if err := s.db.View(func(tx *bolt.Tx) error {
		n = tx.Bucket(bucket).Stats().KeyN
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return n
}
