package boltstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore/internal/filetest"
)

// The store in memory is held to the model of storetest. A store in a file does
// what it does, however often it is closed, or crashes, or sweeps in between.
func TestReopenedAtRandomItIsLikeMemory(t *testing.T) { synctest.Test(t, againstMemory) }

func againstMemory(t *testing.T) {
	const trail = 20
	r := rand.New(rand.NewPCG(need.Seed(t), 0))
	w := &twin{t: t, dir: t.TempDir(), model: store.NewMemory()}
	w.open(filepath.Join(w.dir, "chime.db"))
	defer func() {
		_ = w.s.Close()
		filetest.Sound(t, w.path)
	}()
	for range need.Rounds(800, 3000) {
		w.step(r)
		if t.Failed() {
			for _, step := range w.did[max(0, len(w.did)-trail):] {
				t.Log(step)
			}
			t.FailNow()
		}
	}
}

// twin does everything to a store and to its model.
type twin struct {
	t     *testing.T
	dir   string
	path  string
	files int
	s     *Store
	model *store.Memory
	top   uint64
	did   []string
}

func (w *twin) step(r *rand.Rand) {
	topic := string("abcd"[r.IntN(4)])
	ctx := context.Background()
	offset := uint64(max(0, int(w.top)-r.IntN(60)+2))
	switch dice := r.IntN(1000); {
	case dice < 500:
		keep := store.Retention{Keep: r.IntN(40), Age: time.Duration(r.IntN(120)) * time.Minute}
		m := store.Message{Event: fmt.Sprint(r.IntN(5)), Payload: make([]byte, r.IntN(20)), Binary: r.IntN(2) == 0}
		if r.IntN(5) == 0 {
			m.At = time.Now().Add(time.Duration(r.IntN(150)-120) * time.Minute)
		}
		if r.IntN(4) == 0 {
			m = store.Message{Event: "once", Payload: make([]byte, r.IntN(2)), Key: fmt.Sprint("key ", r.IntN(6))}
		}
		w.note("append to %s, key %q, %+v", topic, m.Key, keep)
		var got, want store.Message
		offset, err := w.s.Append(ctx, topic, m, keep, func(m store.Message) { got = m })
		first, wrong := w.model.Append(ctx, topic, m, keep, func(m store.Message) { want = m })
		if errors.Is(err, store.ErrKeyReused) != errors.Is(wrong, store.ErrKeyReused) || (err == nil) != (wrong == nil) || offset != first || !filetest.Same(got, want) {
			w.t.Errorf("append: got %d, %+v, %v, want %d, %+v, %v", offset, got, err, first, want, wrong)
		}
		w.top = max(w.top, want.Offset)
	case dice < 860:
		rg := store.Range{Newest: r.IntN(2) == 0, After: offset, Limit: r.IntN(12), Bytes: r.IntN(200)}
		w.note("read %s, %+v", topic, rg)
		w.compare(topic, rg)
	case dice < 900:
		w.note("redact %d of %s", offset, topic)
		got, want := w.s.Redact(ctx, topic, offset), w.model.Redact(ctx, topic, offset)
		if (got == nil) != (want == nil) || errors.Is(got, store.ErrNotFound) != errors.Is(want, store.ErrNotFound) {
			w.t.Errorf("redact: got %v, want %v", got, want)
		}
	case dice < 910:
		w.note("forget %s", topic)
		if err := w.s.Forget(ctx, topic); err != nil {
			w.t.Error(err)
		}
		_ = w.model.Forget(ctx, topic)
	case dice < 960:
		pause := time.Duration(1+r.IntN(3000)) * time.Second
		w.note("wait %v", pause)
		time.Sleep(pause)
	case dice < 980:
		w.note("close")
		epoch := w.s.Epoch()
		if err := w.s.Close(); err != nil {
			w.t.Error(err)
		}
		filetest.Sound(w.t, w.path)
		w.open(w.path)
		if w.s.Epoch() != epoch {
			w.t.Errorf("epoch after a close: got %q, want %q", w.s.Epoch(), epoch)
		}
		w.compareAll()
	default:
		w.note("crash")
		w.crash()
		w.compareAll()
	}
}

// crash goes on with a copy of the file, taken between two commits at random.
func (w *twin) crash() {
	epoch := w.s.Epoch()
	w.files++
	copied := filepath.Join(w.dir, fmt.Sprint("crash", w.files, ".db"))
	filetest.Copy(w.t, w.path, copied)
	if err := w.s.Close(); err != nil {
		w.t.Error(err)
	}
	_ = os.Remove(w.path)
	filetest.Sound(w.t, copied)
	w.open(copied)
	if w.s.Epoch() != epoch {
		w.t.Errorf("epoch after a crash: got %q, it was %q", w.s.Epoch(), epoch)
	}
}

func (w *twin) open(path string) {
	w.t.Helper()
	s, err := Open(path, Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.s, w.path = s, path
}

func (w *twin) note(format string, args ...any) { w.did = append(w.did, fmt.Sprintf(format, args...)) }

func (w *twin) compareAll() {
	for _, topic := range []string{"a", "b", "c", "d", "unknown"} {
		w.compare(topic, store.Range{Newest: true})
		for back := range uint64(40) {
			w.compare(topic, store.Range{After: max(w.top, back) - back})
		}
	}
}

func (w *twin) compare(topic string, r store.Range) {
	w.t.Helper()
	got, err := w.s.Read(context.Background(), topic, r)
	want, _ := w.model.Read(context.Background(), topic, r)
	if err != nil || got.Top != want.Top || got.Complete != want.Complete || got.More != want.More || !slices.EqualFunc(got.Messages, want.Messages, filetest.Same) {
		w.t.Errorf("read %s, %+v: got %+v, %v, want %+v", topic, r, got, err, want)
	}
}

// What Mercure got wrong: after a restart nothing was replayed before something new was said.
func TestReplayWorksBeforeAnythingNewIsSaid(t *testing.T) {
	path := filepath.Join(t.TempDir(), "chime.db")
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	m := sayN(t, s, 300, store.Retention{})
	epoch := s.Epoch()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = opened(t, path)
	if s.Epoch() != epoch {
		t.Errorf("epoch: got %q, want %q", s.Epoch(), epoch)
	}
	p := read(t, s, "a", store.Range{After: m[3].Offset})
	if len(p.Messages) != 296 || !p.Complete || p.Top != m[299].Offset {
		t.Errorf("after the fourth: got %d messages, complete %t, top %d, want 296, true, %d", len(p.Messages), p.Complete, p.Top, m[299].Offset)
	}
	if next := say(t, s, "b", "x", store.Retention{}); next.Offset <= m[299].Offset {
		t.Errorf("next offset: got %d, want more than %d", next.Offset, m[299].Offset)
	}
}

func TestABackupIsAnotherEpoch(t *testing.T) {
	s := begun(t)
	m := sayN(t, s, 10, store.Retention{})
	path := filepath.Join(t.TempDir(), "copy.db")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Backup(f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	sayN(t, s, 10, store.Retention{})
	filetest.Sound(t, path)
	c := opened(t, path)
	if c.Epoch() == s.Epoch() {
		t.Error("the copy has the epoch of the original, whose offsets it will give again")
	}
	if p := read(t, c, "a", store.Range{}); !slices.EqualFunc(p.Messages, m, filetest.Same) {
		t.Errorf("the copy: got %+v, want %+v", p.Messages, m)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(pathOf(s)), "*backup*")); len(left) > 0 {
		t.Errorf("left beside the original: %q", left)
	}
}
