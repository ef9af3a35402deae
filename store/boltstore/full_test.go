package boltstore

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore/internal/filetest"
)

// onFull opens a store on a disk that can be full.
func onFull(t *testing.T, with syscall.Errno) (*Store, *filetest.Full) {
	t.Helper()
	d := &filetest.Full{With: with}
	path := filepath.Join(t.TempDir(), "chime.db")
	s, err := Open(path, Options{Log: slog.New(slog.DiscardHandler), watch: d.Watch, room: d.Room})
	if err != nil {
		t.Fatal(err)
	}
	return s, d
}

// A disk that is full refuses what is said, and nothing else comes of it: what was kept
// can be read, and the store goes on when there is room, wherever the commit was cut.
func TestAFullDiskRefusesUntilThereIsRoom(t *testing.T) {
	for _, with := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT} {
		for writes := range 6 {
			t.Run(fmt.Sprintf("%v after %d writes", with, writes), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { fullDisk(t, with, writes) })
			})
		}
	}
}

func fullDisk(t *testing.T, with syscall.Errno, writes int) {
	s, d := onFull(t, with)
	kept := sayN(t, s, 20, store.Retention{})
	epoch := s.Epoch()
	d.After(writes)
	for full := false; !full; {
		_, err := s.Append(t.Context(), "a", store.Message{Payload: []byte("x")}, store.Retention{}, func(m store.Message) { kept = append(kept, m) })
		if full = err != nil; full {
			wantFull(t, s, err, with)
		}
	}
	_, appending := s.Append(t.Context(), "b", store.Message{}, store.Retention{}, func(store.Message) { t.Error("announced") })
	for name, err := range map[string]error{
		"append": appending,
		"forget": s.Forget(t.Context(), "a"),
		"redact": s.Redact(t.Context(), "a", kept[0].Offset),
		"health": s.Health(),
	} {
		if !errors.Is(err, store.ErrFull) || errors.Is(err, ErrFailed) {
			t.Errorf("%s: got %v, want %v", name, err, store.ErrFull)
		}
	}
	if p := read(t, s, "a", store.Range{}); !slices.EqualFunc(p.Messages, kept, filetest.Same) {
		t.Errorf("while it is full: got %d messages, want %d", len(p.Messages), len(kept))
	}
	time.Sleep(time.Minute)
	if err := s.Health(); !errors.Is(err, store.ErrFull) {
		t.Errorf("health, while it is still full: got %v", err)
	}

	d.Free()
	time.Sleep(roomMost)
	synctest.Wait()
	if err := s.Health(); err != nil {
		t.Errorf("health, with room: got %v", err)
	}
	kept = append(kept, sayN(t, s, 20, store.Retention{})...)
	for range 2 {
		p := read(t, s, "a", store.Range{})
		if !slices.EqualFunc(p.Messages, kept, filetest.Same) || !p.Complete || s.Epoch() != epoch {
			t.Errorf("with room: got %d messages, complete %t, epoch %q, want %d, true, %q", len(p.Messages), p.Complete, s.Epoch(), len(kept), epoch)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		filetest.Sound(t, pathOf(s))
		s = opened(t, pathOf(s))
	}
}

// Where it can't be told whether a commit is in the file, nothing more is taken, whatever
// the disk said.
func TestACommitThatMayBeKeptIsNotTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := onFull(t, syscall.ENOSPC)
		d.Half = true
		sayN(t, s, 20, store.Retention{})
		unknown := 0
		for writes := range 6 {
			d.After(writes)
			for {
				_, err := s.Append(t.Context(), "a", store.Message{}, store.Retention{}, nil)
				if errors.Is(err, ErrFailed) {
					unknown++
				} else if err == nil {
					continue
				}
				break
			}
			d.Free()
			time.Sleep(roomMost)
			synctest.Wait()
		}
		if err := s.Health(); unknown == 0 || !errors.Is(err, ErrFailed) || errors.Is(err, store.ErrFull) {
			t.Errorf("health: got %v, want %v, since half of the page was written that makes the commit", err, ErrFailed)
		}
		if err := s.Close(); !errors.Is(err, ErrFailed) {
			t.Errorf("close: got %v, want %v", err, ErrFailed)
		}
	})
}

// wantFull wants an error that says that the disk is full, of which file, and what to do.
func wantFull(t *testing.T, s *Store, err error, with error) {
	t.Helper()
	if !errors.Is(err, store.ErrFull) || errors.Is(err, ErrFailed) {
		t.Errorf("got %v, want %v", err, store.ErrFull)
	}
	filetest.Explains(t, err, pathOf(s), with, "make room")
}

// A store on a full disk can be closed. Its file is then as a crash leaves it.
func TestAStoreIsClosedWhileTheDiskIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := onFull(t, syscall.ENOSPC)
		kept := sayN(t, s, 20, store.Retention{})
		d.After(1)
		_, err := s.Append(t.Context(), "a", store.Message{}, store.Retention{}, nil)
		wantFull(t, s, err, syscall.ENOSPC)
		if err := s.Close(); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("close: got %v, want %v", err, syscall.ENOSPC)
		}
		if err := s.Health(); !errors.Is(err, store.ErrClosed) {
			t.Errorf("health: got %v, want %v", err, store.ErrClosed)
		}
		s = opened(t, pathOf(s))
		if p := read(t, s, "a", store.Range{}); !slices.EqualFunc(p.Messages, kept, filetest.Same) {
			t.Errorf("opened again: got %d messages, want %d", len(p.Messages), len(kept))
		}
	})
}
