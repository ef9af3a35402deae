package boltstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore/boltfile"
	"github.com/go-chime/chime/store/boltstore/internal/filetest"
)

// onceLeft is a file as a crash leaves it, with messages of the keys 0 to 9 in a topic.
func onceLeft(t *testing.T) (path string, said []store.Message) {
	t.Helper()
	s := begun(t)
	for i := range 10 {
		said = append(said, sayOnce(t, s, fmt.Sprint(i), fmt.Sprint(i)))
	}
	path = filepath.Join(t.TempDir(), "left.db")
	filetest.Copy(t, pathOf(s), path)
	return path, said
}

func sayOnce(t *testing.T, s *Store, key, text string) store.Message {
	t.Helper()
	m := store.Message{Event: "once", Payload: []byte(text), Key: key}
	offset, err := s.Append(t.Context(), "a", m, store.Retention{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	m.Offset = offset
	return m
}

// entry is the key of what leads to the message with that key.
func entry(key string) []byte {
	return append(binary.BigEndian.AppendUint64(nil, 1), key...)
}

// What leads from keys to messages is checked, as these are.
func TestVerifyFindsWhatIsWrongWithKeys(t *testing.T) {
	for name, c := range map[string]struct {
		change func(b *bolt.Bucket) error
		says   string
	}{
		"one is missing": {func(b *bolt.Bucket) error { return b.Delete(entry("3")) }, "the record at offset 4: nothing leads to it from its key"},
		"one is damaged": {func(b *bolt.Bucket) error {
			return b.Put(entry("3"), flip(bytes.Clone(b.Get(entry("3")))))
		}, `the key "3" of a message: its checksum`},
		"one is that of another": {func(b *bolt.Bucket) error { return b.Put(entry("3"), b.Get(entry("4"))) }, `the key "3" of a message: its checksum`},
		"one is of no topic": {func(b *bolt.Bucket) error {
			k := entry("3")
			k[0] = 1
			return b.Put(k, b.Get(entry("3")))
		}, `the key "3" of a message: it is missing`},
		"one is too short": {func(b *bolt.Bucket) error { return b.Put([]byte("x"), nil) }, "a key has 1 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			path, said := onceLeft(t)
			filetest.Update(t, path, func(tx *bolt.Tx) error { return c.change(tx.Bucket([]byte("once"))) })
			_, err := boltfile.Verify(path)
			if filetest.Explains(t, err, path, ErrDamaged, ""); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("verify: got %v, want %q", err, c.says)
			}
			s, err := Open(path, Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if p := read(t, s, "a", store.Range{}); len(p.Messages) != len(said) {
				t.Errorf("got %d messages, want all %d: a key takes nothing with it", len(p.Messages), len(said))
			}
			if m := sayOnce(t, s, "4", "4"); m.Offset != said[4].Offset {
				t.Errorf("another key: got offset %d, want %d", m.Offset, said[4].Offset)
			}
		})
	}
}

// Where nobody can say whether a key was used, a message with it is not appended again.
func TestAKeyThatCantBeReadIsNoFreeOne(t *testing.T) {
	path, said := onceLeft(t)
	filetest.Update(t, path, func(tx *bolt.Tx) error {
		once, messages := tx.Bucket([]byte("once")), tx.Bucket([]byte("messages"))
		record := binary.BigEndian.AppendUint64(entry(""), said[7].Offset)
		return errors.Join(
			once.Put(entry("3"), flip(bytes.Clone(once.Get(entry("3"))))),
			messages.Put(record, flip(bytes.Clone(messages.Get(record)))),
		)
	})
	s := opened(t, path)
	for _, key := range []string{"3", "7"} {
		_, err := s.Append(t.Context(), "a", store.Message{Event: "once", Payload: []byte(key), Key: key}, store.Retention{}, nil)
		if filetest.Explains(t, err, path, ErrDamaged, ""); errors.Is(err, ErrFailed) {
			t.Errorf("append of key %s: got %v, and the store has failed for all", key, err)
		}
	}
	for _, m := range []store.Message{said[3], said[7]} {
		if err := s.Redact(t.Context(), "a", m.Offset); err != nil {
			t.Error(err)
		}
	}
	sayOnce(t, s, "3", "another")
	if _, err := s.Append(t.Context(), "a", store.Message{Event: "once", Key: "4"}, store.Retention{}, nil); !errors.Is(err, store.ErrKeyReused) || strings.Contains(err.Error(), path) {
		t.Errorf("another message: got %v, want %v, for which the disk is not to blame", err, store.ErrKeyReused)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	filetest.Sound(t, path)
}

// A compacted copy and one that was exported and imported know the keys of what they
// have, and of nothing else.
func TestKeysAreInACopy(t *testing.T) {
	path, said := onceLeft(t)
	s := opened(t, path)
	if err := errors.Join(s.Redact(t.Context(), "a", said[3].Offset), s.Close()); err != nil {
		t.Fatal(err)
	}
	compacted, imported := filepath.Join(t.TempDir(), "compacted.db"), filepath.Join(t.TempDir(), "imported.db")
	if err := boltfile.Compact(path, compacted); err != nil {
		t.Fatal(err)
	}
	r, err := boltfile.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	var lines bytes.Buffer
	if err := errors.Join(r.Export(&lines), r.Close()); err != nil {
		t.Fatal(err)
	}
	twice := lines.String() + lines.String()
	if _, err := boltfile.Import(imported, &lines); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{compacted, imported} {
		filetest.Sound(t, path)
		s := opened(t, path)
		for _, m := range read(t, s, "a", store.Range{}).Messages {
			if again := sayOnce(t, s, m.Key, m.Key); again.Offset != m.Offset {
				t.Errorf("key %s: got offset %d, want %d", m.Key, again.Offset, m.Offset)
			}
		}
		sayOnce(t, s, "3", "another")
	}
	if _, err := boltfile.Import(filepath.Join(t.TempDir(), "twice.db"), strings.NewReader(twice)); err == nil || !strings.Contains(err.Error(), `message 10: key "0"`) {
		t.Errorf("import of lines that have a key twice: got %v, want the message that has it again", err)
	}
}
