package boltstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore/internal/filetest"
)

const aloneEnv = "CHIME_TEST_ALONE" // this is the process that may end

// What becomes of a file while it is open, and what only bbolt notices of one, is
// an error of the call that meets it, and no more than that: a fault, or a panic
// where nobody recovers, would end the process and everybody's connections. So
// each case has a process of its own, and has to get to its end.
func TestNoFaultEndsTheProcess(t *testing.T) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T)
	}{
		{"read what is cut off", func(t *testing.T) { spoilt(t, cutOff, reads, reads, appends, reads) }},
		{"append to what is cut off", func(t *testing.T) { spoilt(t, cutOff, appends, appends, reads) }},
		{"copy what is cut off", func(t *testing.T) { spoilt(t, cutOff, copies, appends) }},
		{"close what is cut off", func(t *testing.T) { spoilt(t, cutOff) }},
		{"read what is overwritten", func(t *testing.T) { spoilt(t, overwrite, reads, reads, appends, reads) }},
		{"append to what is overwritten", func(t *testing.T) { spoilt(t, overwrite, appends, appends, reads) }},
		{"copy what is overwritten", func(t *testing.T) { spoilt(t, overwrite, copies, appends) }},
		{"close what is overwritten", func(t *testing.T) { spoilt(t, overwrite) }},
		{"read what is emptied", func(t *testing.T) { spoilt(t, empty, reads, reads, appends, copies) }},
		{"append to what is emptied", func(t *testing.T) { spoilt(t, empty, appends, reads, copies, appends) }},
		{"close what is emptied", func(t *testing.T) { spoilt(t, empty) }},
		{"open with a list of free pages that is none", func(t *testing.T) { freeList(t, 2) }},
		{"open with a list of free pages behind the end", func(t *testing.T) { freeList(t, 1<<17) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			if os.Getenv(aloneEnv) != "" {
				c.run(t)
				return
			}
			t.Parallel() // it waits for a process, and that one for the disk
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), self, "-test.run", "^"+t.Name()+"$", "-test.timeout", "20s")
			cmd.Env = append(os.Environ(), aloneEnv+"=1")
			if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("PASS")) {
				t.Errorf("the process ended with %v and said\n%.4000s", err, out)
			}
		})
	}
}

// spoilt does what it is told to a store whose file has been spoilt meanwhile.
func spoilt(t *testing.T, spoil func(t *testing.T, path string), steps ...func(t *testing.T, s *Store)) {
	path := filepath.Join(t.TempDir(), "chime.db")
	quiet := slog.New(slog.DiscardHandler)
	s, err := Open(path, Options{Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	sayN(t, s, 100, store.Retention{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(path, Options{Log: quiet}); err != nil { // with nothing of the index in memory
		t.Fatal(err)
	}
	say(t, s, "a", "a look around is over", store.Retention{})
	spoil(t, path)
	for _, step := range steps {
		step(t, s)
	}
	if err := s.Close(); !errors.Is(err, ErrFailed) {
		t.Errorf("close: got %v, want %v", err, ErrFailed)
	}
	if again, err := Open(path, Options{}); err == nil {
		_ = again.Close() // an empty file begins anew
	} else if errors.Is(err, ErrLocked) {
		t.Errorf("open again: got %v, want that the lock is gone", err)
	}
	if _, err := s.Read(t.Context(), "a", store.Range{}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("read after that: got %v, want %v", err, store.ErrClosed)
	}
}

func reads(t *testing.T, s *Store) {
	t.Helper()
	_, err := s.Read(t.Context(), "a", store.Range{})
	filetest.Explains(t, err, pathOf(s), ErrDamaged, "backup")
}

func appends(t *testing.T, s *Store) {
	t.Helper()
	_, err := s.Append(t.Context(), "b", store.Message{Payload: []byte("x")}, store.Retention{}, func(store.Message) { t.Error("announced what is not kept") })
	if !errors.Is(err, ErrFailed) {
		t.Errorf("append: got %v, want %v", err, ErrFailed)
	}
}

func copies(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Backup(io.Discard); err == nil {
		t.Error("backup: a copy was made")
	}
}

// cutOff leaves bbolt's two first pages, with which a transaction begins.
func cutOff(t *testing.T, path string) { filetest.Truncate(t, path, int64(2*os.Getpagesize())) }

func empty(t *testing.T, path string) { filetest.Truncate(t, path, 0) }

// overwrite leaves pages that can be read, and are none.
func overwrite(t *testing.T, path string) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	from := int64(2 * os.Getpagesize())
	if _, err := f.WriteAt(bytes.Repeat([]byte{0xa5}, int(info.Size()-from)), from); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// freeList opens a file that says that its free pages are listed on the page
// list. Ours never say so; what another program has written to one may.
func freeList(t *testing.T, list uint64) {
	path := filepath.Join(t.TempDir(), "chime.db")
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	sayN(t, s, 100, store.Retention{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{0, os.Getpagesize()} {
		meta := image[at+16:]
		binary.LittleEndian.PutUint64(meta[32:], list)
		sum := fnv.New64a()
		_, _ = sum.Write(meta[:56])
		binary.LittleEndian.PutUint64(meta[56:], sum.Sum64())
	}
	filetest.Write(t, path, image)
	for range 2 { // the first leaves no lock behind
		_, err = Open(path, Options{})
		filetest.Explains(t, err, path, ErrDamaged, "backup")
	}
}
