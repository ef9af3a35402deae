// Package filetest has what the tests of history files share.
package filetest

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore/internal/disk"
	"github.com/go-chime/chime/store/boltstore/internal/tree"
)

// Sound fails the test if the file, which nobody has open, is not consistent.
func Sound(t testing.TB, path string) (r tree.Report) {
	t.Helper()
	f, err := disk.Open(path, disk.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := f.View(func(tx *bolt.Tx) error {
		for err := range tx.Check() {
			t.Errorf("bbolt: %v", err)
		}
		r, err = tree.Verify(tx)
		return err
	}); err != nil {
		t.Errorf("%v", err)
	}
	return r
}

// Explains fails the test if err does not name the file once, what is wrong with it
// and what to do.
func Explains(t *testing.T, err error, path string, want error, remedy string) {
	t.Helper()
	var e *disk.FileError
	if !errors.As(err, &e) || e.Path != path || !errors.Is(err, want) || !strings.Contains(e.Remedy, remedy) ||
		strings.Count(err.Error(), path) != 1 {
		t.Errorf("got %v, want %v of %s, and a remedy with %q", err, want, path, remedy)
	}
}

// Same reports whether both messages say the same at the same place.
func Same(a, b store.Message) bool {
	return a.Offset == b.Offset && a.Prev == b.Prev && a.At.Equal(b.At) && a.Event == b.Event && a.Key == b.Key && a.Sum == b.Sum &&
		a.Binary == b.Binary && string(a.Payload) == string(b.Payload)
}

// Copy copies a file.
func Copy(t testing.TB, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// Write makes a file of b.
func Write(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Truncate cuts a file off.
func Truncate(t testing.TB, path string, n int64) {
	t.Helper()
	if err := os.Truncate(path, n); err != nil {
		t.Fatal(err)
	}
}

// Update changes what is in a file, and leaves it closed.
func Update(t testing.TB, path string, change func(tx *bolt.Tx) error) {
	t.Helper()
	f, err := disk.Open(path, disk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.UpdateLast(change), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// Damage flips a bit in each entry of the file that has the text in its value.
func Damage(t testing.TB, path, text string) {
	t.Helper()
	damaged := 0
	Update(t, path, func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte("messages"))
		c := b.Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			if bytes.Contains(v, []byte(text)) {
				bad := slices.Clone(v)
				bad[len(bad)-1] ^= 1
				damaged++
				if err := b.Put(slices.Clone(k), bad); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if damaged == 0 {
		t.Fatalf("nothing has the text %q", text)
	}
}
