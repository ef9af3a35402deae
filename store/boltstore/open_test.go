package boltstore

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore/internal/filetest"
)

// What Open does is bounded, however much is kept: of a file that was closed it
// reads no message, and no page that has one. Of one that was not it checks every page,
// since bbolt looks for free ones there.
func TestOpenReadsNoMessagesOfAFileThatWasClosed(t *testing.T) {
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
				copy(b, bytes.Repeat([]byte{0xff}, len(b)))
			}
		}
		filetest.Write(t, file, image)
	}

	_, err = Open(killed, Options{})
	filetest.Explains(t, err, killed, ErrDamaged, "backup")
	if s, err = Open(path, Options{}); err != nil {
		t.Fatal(err)
	}
	if s.Epoch() != epoch {
		t.Errorf("epoch: got %q, want %q", s.Epoch(), epoch)
	}
	if _, err := s.Read(t.Context(), "a", store.Range{Limit: 1}); err == nil {
		t.Error("read: got no error: the pages are not those with the messages")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
