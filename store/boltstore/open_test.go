package boltstore

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore/internal/filetest"
)

// What Open does is bounded, however much is kept: it reads no message, neither of a
// file that was closed nor of one that was not. Of the latter it reads, of some pages
// with messages, how long they are.
func TestOpenReadsNoMessages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "chime.db")
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("something ", 200)
	for range 50 {
		say(t, s, "a", text, store.Retention{})
	}
	killed := filepath.Join(t.TempDir(), "killed.db")
	filetest.Copy(t, path, killed)
	epoch := s.Epoch()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{path, killed} {
		image, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for page := range len(image) / os.Getpagesize() {
			if b := image[page*os.Getpagesize():][:os.Getpagesize()]; bytes.Contains(b, []byte("something")) {
				const header = 16
				copy(b[header:], bytes.Repeat([]byte{0xff}, len(b)-header))
			}
		}
		filetest.Write(t, file, image)

		s, err = Open(file, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if s.Epoch() != epoch {
			t.Errorf("epoch: got %q, want %q", s.Epoch(), epoch)
		}
		if _, err := s.Read(t.Context(), "a", store.Range{Limit: 1}); !errors.Is(err, ErrDamaged) {
			t.Errorf("read: got %v, want %v: the pages are not those with the messages", err, ErrDamaged)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
