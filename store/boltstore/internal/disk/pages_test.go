package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// A small bucket is a value of the first page, and bbolt copies it. An element that leads out
// of the copy was a pointer to anywhere, at which the garbage collector ended the process.
func TestAFileWhoseSmallBucketsAreWrongIsNotOpened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "chime.db")
	f, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	key := []byte("the key of a small bucket")
	err = f.UpdateLast(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket([]byte("small"))
		if err != nil {
			return err
		}
		return b.Put(key, []byte("and its value"))
	})
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	if p := checked(t, path, false); p.list == notListed {
		t.Fatal("the file has no list of free pages: want one that was closed")
	}
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; ; at++ { // in each page that has it
		i := bytes.Index(image[at:], key)
		if i < 0 {
			break
		}
		at += i
		binary.LittleEndian.PutUint32(image[at-elementBytes+8:], 0xef000b) // the length of the key
	}
	if err := os.WriteFile(path, image, FileMode); err != nil {
		t.Fatal(err)
	}
	if f, err := Open(path, Options{}); err == nil {
		_ = f.Close()
		t.Error("it was opened")
	} else if !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v, want %v", err, ErrDamaged)
	}
}
