package boltstore

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore/internal/filetest"
)

// A power cut is played with the writes themselves. bbolt writes pages through
// one function, which is replaced here by one that also takes them down; what
// a disk may hold at a cut is then built from them: all that was synced before,
// and of what came later any subset, even of the sectors of a page.
//
// Syncs can't be seen this way. Where they are is taken from bbolt: one between
// the pages of a transaction and its meta page, one after that. The model is
// stricter: it believes in the second only once a message was announced or the
// next transaction has begun. That the syncs are made, and that nothing is
// announced when they fail, is TestFailedSync's.
type recorder struct {
	mu     sync.Mutex // guards the rest
	file   string
	base   []byte
	events []event
	acks   []ack
}

type event struct {
	at      int64
	data    []byte
	size    int64 // of the file; it grows by a synced truncate
	barrier bool  // all before has been synced
}

type ack struct {
	events int // that had happened
	m      store.Message
}

const sector = 512

// watch begins to record.
func (r *recorder) watch(db *bolt.DB) {
	r.base, _ = os.ReadFile(r.file)
	page := int64(db.Info().PageSize)
	meta := false
	filetest.WriteAt(db, func(inner func([]byte, int64) (int, error)) func([]byte, int64) (int, error) {
		return func(b []byte, at int64) (int, error) {
			isMeta := at < 2*page
			r.mu.Lock()
			if meta || isMeta {
				r.events = append(r.events, event{barrier: true})
			}
			meta = isMeta
			info, _ := os.Stat(r.file)
			r.events = append(r.events, event{at: at, data: bytes.Clone(b), size: info.Size()})
			r.mu.Unlock()
			return inner(b, at)
		}
	})
}

// announce notes that m was seen.
func (r *recorder) announce(m store.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.acks = append(r.acks, ack{len(r.events), m})
}

// cut returns what a disk may hold when the power goes after n events, and what had been seen.
func (r *recorder) cut(random *rand.Rand, n int) (image []byte, seen []store.Message) {
	image = bytes.Clone(r.base)
	synced := 0
	for i, e := range r.events[:n] {
		if e.barrier {
			synced = i
		}
		if int64(len(image)) < e.size {
			image = append(image, make([]byte, e.size-int64(len(image)))...)
		}
	}
	for _, a := range r.acks {
		if a.events <= n {
			seen = append(seen, a.m)
			synced = max(synced, a.events)
		}
	}
	for i, e := range r.events[:n] {
		if i < synced {
			copy(image[min(e.at, int64(len(image))):], e.data)
			continue
		}
		for s := 0; s < len(e.data); s += sector {
			if random.IntN(2) == 0 {
				copy(image[e.at+int64(s):], e.data[s:min(s+sector, len(e.data))])
			}
		}
	}
	return image, seen
}

func TestPowerCut(t *testing.T) {
	const cuts = 40
	for _, keep := range []store.Retention{{}, {Keep: 30}} {
		t.Run(fmt.Sprintf("keep=%d", keep.Keep), func(t *testing.T) {
			t.Parallel() // it waits for the disk
			random := rand.New(rand.NewPCG(need.Seed(t), 0))
			r, epoch := recorded(t, keep)
			for range cuts {
				n := random.IntN(len(r.events) + 1)
				image, seen := r.cut(random, n)
				path := filepath.Join(t.TempDir(), "cut.db")
				if err := os.WriteFile(path, image, 0o600); err != nil {
					t.Fatal(err)
				}
				sees(t, path, keep, epoch, seen)
				if t.Failed() {
					t.Fatalf("the power was cut after %d of %d events", n, len(r.events))
				}
			}
		})
	}
}

// recorded is a life of a store: writers, sweeps, a close.
func recorded(t *testing.T, keep store.Retention) (*recorder, string) {
	const topics, writers, each = 3, 8, 60
	r := &recorder{file: filepath.Join(t.TempDir(), "chime.db")}
	// Marked as in use before the recording begins: a store that nobody had seen
	// anything of may be as new.
	s, err := Open(r.file, Options{})
	if err != nil {
		t.Fatal(err)
	}
	epoch := s.Epoch()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(r.file, Options{watch: r.watch}); err != nil {
		t.Fatal(err)
	}
	if db, _ := s.file.Bolt(); db.NoSync {
		t.Fatal("bbolt is told not to sync")
	}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				m := store.Message{Event: fmt.Sprint(w), Payload: []byte(fmt.Sprint(i))}
				if _, err := s.Append(context.Background(), fmt.Sprint(i%topics), m, keep, r.announce); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	filetest.Sound(t, r.file)
	return r, epoch
}

// sees opens what a power cut has left, and looks for what was seen before.
func sees(t *testing.T, path string, keep store.Retention, epoch string, seen []store.Message) {
	t.Helper()
	filetest.Sound(t, path)
	s := opened(t, path)
	if s.Epoch() != epoch {
		t.Errorf("epoch: got %q, want %q", s.Epoch(), epoch)
	}
	at := map[uint64]store.Message{}
	floors := map[string]uint64{}
	for k := range 3 {
		topic := fmt.Sprint(k)
		p := read(t, s, topic, store.Range{})
		for i, m := range p.Messages {
			at[m.Offset] = m
			if i > 0 && m.Prev != p.Messages[i-1].Offset {
				t.Errorf("topic %s: a message behind %d follows that at %d", topic, m.Prev, p.Messages[i-1].Offset)
			}
		}
		if keep.Keep > 0 && len(p.Messages) > keep.Keep {
			t.Errorf("topic %s: got %d messages, want at most %d", topic, len(p.Messages), keep.Keep)
		}
		for !read(t, s, topic, store.Range{After: floors[topic]}).Complete {
			floors[topic]++ // no topic has many
		}
	}
	last := uint64(0)
	for _, m := range seen {
		last = max(last, m.Offset)
		var i int
		_, _ = fmt.Sscan(string(m.Payload), &i)
		if got, ok := at[m.Offset]; (!ok && m.Offset > floors[fmt.Sprint(i%3)]) || ok && !filetest.Same(got, m) {
			t.Errorf("seen: %+v, kept: %+v", m, got)
		}
	}
	if next := say(t, s, "0", "next", keep); next.Offset <= last {
		t.Errorf("next offset: got %d, want more than %d", next.Offset, last)
	}
}
