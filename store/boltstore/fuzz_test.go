package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore/boltfile"
)

// FuzzFile opens a file with bytes changed in it, one that was closed or one that
// was not, and uses what opens. It may fail in any way that is an error.
func FuzzFile(f *testing.F) {
	path := filepath.Join(f.TempDir(), "chime.db")
	s, err := Open(path, Options{})
	if err != nil {
		f.Fatal(err)
	}
	for i := range 200 {
		m := store.Message{Event: "said", Payload: []byte("some text")}
		if i%4 == 0 {
			m.Key = fmt.Sprint(i)
		}
		if _, err := s.Append(f.Context(), []string{"a", "b", "c"}[i%3], m, store.Retention{Keep: 20}, nil); err != nil {
			f.Fatal(err)
		}
	}
	var images [2][]byte
	image := func(i int) {
		if images[i], err = os.ReadFile(path); err != nil {
			f.Fatal(err)
		}
		images[i] = images[i][:inUse(images[i])]
	}
	image(0)
	if err := s.Close(); err != nil {
		f.Fatal(err)
	}
	image(1)
	for i := range images {
		for at := 0; at < len(images[i]); at += 997 {
			f.Add(i == 1, binary.LittleEndian.AppendUint32(nil, uint32(at)), byte(0xff), false)
		}
		f.Add(i == 1, []byte{8, 16, 0, 0, 10, 32, 0, 0}, byte(1), true)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, closed bool, places []byte, flip byte, cut bool) {
		b := bytes.Clone(images[0])
		if closed {
			b = bytes.Clone(images[1])
		}
		for ; len(places) >= 4; places = places[4:] {
			b[int(binary.LittleEndian.Uint32(places))%len(b)] ^= flip
		}
		if cut {
			b = b[:len(b)-int(flip)*16]
		}
		path := filepath.Join(dir, "mutated.db")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		_, _ = boltfile.Verify(path)
		s, err := Open(path, Options{})
		if err != nil {
			return
		}
		for _, topic := range []string{"a", "b", "c"} {
			_, _ = s.Read(context.Background(), topic, store.Range{})
			_, _ = s.Append(context.Background(), topic, store.Message{Payload: []byte("some text"), Event: "said", Key: "196"}, store.Retention{Keep: 5}, nil)
			_, _ = s.Append(context.Background(), topic, store.Message{Payload: []byte("x")}, store.Retention{Keep: 5}, nil)
			_ = s.Forget(context.Background(), topic)
		}
		_ = s.Close()
	})
}

// inUse is how much of a file the newer of its first two pages counts.
func inUse(image []byte) (n uint64) {
	newest := uint64(0)
	for at := 0; at <= os.Getpagesize(); at += os.Getpagesize() {
		meta := image[at+16:]
		if id := binary.LittleEndian.Uint64(meta[48:]); id >= newest {
			newest, n = id, binary.LittleEndian.Uint64(meta[40:])*uint64(os.Getpagesize())
		}
	}
	return n
}
