package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/go-chime/chime/store"
)

// What is read is what was written; whatever else is in the file is an error,
// and no more than that. The fuzzer's values are sealed, or it would get no further
// than the checksum.

func FuzzRecord(f *testing.F) {
	name, keep := "room:1", store.Retention{Keep: 3, Age: 5}
	for _, r := range []record{
		{seq: 9, topic: 1, prev: 8, floor: 7, at: 1 << 60, event: "said", data: []byte("x")},
		{seq: 1, topic: 1 << 63, name: &name, keep: &keep, bin: true},
	} {
		f.Add(r.seq, appendRecord(nil, logKey(r.seq), &r)[sealBytes:])
	}
	f.Fuzz(func(t *testing.T, seq uint64, body []byte) {
		key := logKey(seq)
		value := append(begin(nil), body...)
		seal(key, value)
		r, err := decodeRecord(key, value)
		if err != nil {
			return
		}
		again, err := decodeRecord(key, appendRecord(nil, key, &r))
		if err != nil || !reflect.DeepEqual(r, again) {
			t.Errorf("written and read: got %+v, %v, want %+v", again, err, r)
		}
		value[len(value)-1] ^= 1
		if _, err := decodeRecord(key, value); err == nil {
			t.Error("a flipped bit was not noticed")
		}
		if _, err := decodeRecord(logKey(seq+1), appendRecord(nil, key, &r)); err == nil {
			t.Error("another key was not noticed")
		}
	})
}

func FuzzBlock(f *testing.F) {
	b := &block{first: 5, began: 7}
	b.add(entry{5, 7, 100})
	b.add(entry{9, 6, 0})
	f.Add(uint64(1), uint64(5), encodeBlock(indexKey(1, 5), b)[sealBytes:])
	f.Fuzz(func(t *testing.T, topic, first uint64, body []byte) {
		key := indexKey(topic, first)
		value := append(begin(nil), body...)
		seal(key, value)
		id, b, err := decodeBlock(key, value)
		if err != nil {
			return
		}
		_, again, err := decodeBlock(key, encodeBlock(key, b))
		if err != nil || id != topic || !reflect.DeepEqual(b, again) {
			t.Errorf("written and read: got %+v, %v, want %+v", again, err, b)
		}
	})
}

func FuzzTopic(f *testing.F) {
	t := &topic{id: 3, name: "room:1", top: 9, floor: 4, keep: store.Retention{Keep: 1, Age: 2}, used: 5, named: true}
	f.Add(uint64(3), encodeTopic(topicKey(3), t)[sealBytes:])
	f.Fuzz(func(t *testing.T, id uint64, body []byte) {
		key := topicKey(id)
		value := append(begin(nil), body...)
		seal(key, value)
		if got, err := decodeTopic(key, value); err == nil {
			again, err := decodeTopic(key, encodeTopic(key, got))
			if err != nil || !reflect.DeepEqual(got, again) {
				t.Errorf("written and read: got %+v, %v, want %+v", again, err, got)
			}
		}
	})
}

func FuzzMeta(f *testing.F) {
	f.Add(appendMeta(nil, &meta{epoch: "e", seq: 9, checkpoint: 8, nextID: 7, horizon: 6, mark: behind})[sealBytes:])
	f.Fuzz(func(t *testing.T, body []byte) {
		value := append(begin(nil), body...)
		seal(stateKey, value)
		if m, err := decodeMeta(value); err == nil {
			if again, err := decodeMeta(appendMeta(nil, &m)); err != nil || m != again {
				t.Errorf("written and read: got %+v, %v, want %+v", again, err, m)
			}
		}
	})
}

func FuzzKeys(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
	f.Fuzz(func(t *testing.T, key []byte) {
		if n, err := number(key); err == nil && !bytes.Equal(logKey(n), key) {
			t.Errorf("number: got %d of % x", n, key)
		}
		if id, first, err := blockID(key); err == nil && !bytes.Equal(indexKey(id, first), key) {
			t.Errorf("blockID: got %d, %d of % x", id, first, key)
		}
	})
}

// FuzzFile opens a file with bytes changed in it, and uses what opens. It may
// fail in any way that is an error.
func FuzzFile(f *testing.F) {
	path := filepath.Join(f.TempDir(), "chime.db")
	s, err := Open(path, Options{checkpointEvery: 30, sweepAfter: 20})
	if err != nil {
		f.Fatal(err)
	}
	for i := range 200 {
		say(f, s, []string{"a", "b", "c"}[i%3], "some text", store.Retention{Keep: 20})
	}
	image, err := os.ReadFile(path) // as after a crash
	if err != nil {
		f.Fatal(err)
	}
	if err := s.Close(); err != nil {
		f.Fatal(err)
	}
	image = image[:pagesInUse(image)]
	for at := 0; at < len(image); at += 997 {
		f.Add(binary.LittleEndian.AppendUint32(nil, uint32(at)), byte(0xff), false)
	}
	f.Add([]byte{8, 16, 0, 0, 10, 32, 0, 0}, byte(1), true)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, places []byte, flip byte, cut bool) {
		b := bytes.Clone(image)
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
		_, _ = Verify(path)
		s, err := Open(path, Options{})
		if err != nil {
			return
		}
		for _, topic := range []string{"a", "b", "c"} {
			_, _ = s.Read(context.Background(), topic, store.Range{})
			_ = s.Append(context.Background(), topic, store.Message{Payload: []byte("x")}, store.Retention{Keep: 5}, nil)
			_ = s.Forget(context.Background(), topic)
		}
		_ = s.Close()
	})
}

// pagesInUse is how much of a file its newer meta page counts.
func pagesInUse(image []byte) int64 {
	_, p, err := rootOf(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		panic(err)
	}
	return int64(p.high * p.size)
}
