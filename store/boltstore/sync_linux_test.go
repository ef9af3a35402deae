package boltstore

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore/internal/filetest"
)

func init() {
	dataSync = func(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }
}

// Under the store, its file becomes one that takes writes and then can't sync, which
// is as near as one gets to a disk that loses what it was given.
func TestFailedSync(t *testing.T) {
	const device, want = "/dev/null", syscall.EINVAL
	path := filepath.Join(t.TempDir(), "chime.db")
	quiet := slog.New(slog.DiscardHandler)
	s, err := Open(path, Options{Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	kept := sayN(t, s, 20, store.Retention{})
	epoch := s.Epoch()

	d, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	err = syscall.Dup3(int(d.Fd()), fdOf(s), syscall.O_CLOEXEC)
	_ = d.Close()
	if err != nil {
		t.Fatal(err)
	}

	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			_, err := s.Append(context.Background(), "a", store.Message{Payload: []byte("lost")}, store.Retention{},
				func(store.Message) { t.Error("announced what is not kept") })
			if !errors.Is(err, ErrFailed) {
				t.Errorf("append: got %v, want %v", err, ErrFailed)
			}
			if errors.Is(err, want) {
				filetest.Explains(t, err, path, want, "start again")
			}
		})
	}
	wg.Wait()
	_, appending := s.Append(t.Context(), "b", store.Message{}, store.Retention{}, func(store.Message) { t.Error("announced") })
	for name, err := range map[string]error{
		"append": appending,
		"forget": s.Forget(t.Context(), "a"),
		"redact": s.Redact(t.Context(), "a", kept[0].Offset),
	} {
		if !errors.Is(err, ErrFailed) || !errors.Is(err, want) {
			t.Errorf("%s after that: got %v, want %v and %v", name, err, ErrFailed, want)
		}
	}
	if p := read(t, s, "a", store.Range{}); !slices.EqualFunc(p.Messages, kept, filetest.Same) {
		t.Errorf("read after that: got %d messages, want %d", len(p.Messages), len(kept))
	}
	if err := s.Close(); !errors.Is(err, ErrFailed) {
		t.Errorf("close: got %v, want %v", err, ErrFailed)
	}

	s = opened(t, path)
	p := read(t, s, "a", store.Range{Limit: len(kept)})
	if !slices.EqualFunc(p.Messages, kept, filetest.Same) || s.Epoch() != epoch {
		t.Errorf("opened again: got %d messages, epoch %q, want %d, %q", len(p.Messages), s.Epoch(), len(kept), epoch)
	}
	say(t, s, "a", "better", store.Retention{})
}

func fdOf(s *Store) int {
	_, f := s.file.Bolt()
	return int(f.Fd())
}
