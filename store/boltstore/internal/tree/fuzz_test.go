package tree

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/go-chime/chime/store"
)

// What is read is what was written; whatever else is in the file is an error,
// and no more than that. The fuzzer's values are sealed, or it would get no further
// than the checksum.

// sealed returns the value with this body.
func sealed(key, body []byte) []byte {
	value := append(begin(nil), body...)
	seal(key, value)
	return value
}

func FuzzRecord(f *testing.F) {
	for _, r := range []record{
		{prev: 8, at: 1 << 60, event: "said", data: []byte("x")},
		{bin: true},
		{key: "k", sum: "s", event: "once"},
	} {
		f.Add(uint64(3), uint64(9), appendRecord(nil, recordKey(3, 9), &r)[sealBytes:])
	}
	f.Fuzz(func(t *testing.T, topic, offset uint64, body []byte) {
		key := recordKey(topic, offset)
		value := sealed(key, body)
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
		for _, other := range [][]byte{recordKey(topic, offset+1), recordKey(topic+1, offset)} {
			if _, err := decodeRecord(other, appendRecord(nil, key, &r)); err == nil {
				t.Error("another key was not noticed")
			}
		}
	})
}

func FuzzHead(f *testing.F) {
	h := Head{Top: 9, Floor: 4, since: 2, Keep: store.Retention{Keep: 1, Age: 2}, n: 3, dead: 1, last: -5, used: 6, due: 7}
	f.Add(uint64(3), encodeHead(headKey(3), &h)[sealBytes:])
	f.Fuzz(func(t *testing.T, topic uint64, body []byte) {
		key := headKey(topic)
		if got, err := decodeHead(key, sealed(key, body)); err == nil {
			again, err := decodeHead(key, encodeHead(key, &got))
			if err != nil || got != again {
				t.Errorf("written and read: got %+v, %v, want %+v", again, err, got)
			}
		}
	})
}

func FuzzState(f *testing.F) {
	f.Add(appendState(nil, &State{Epoch: "e", Mark: Copied, seq: 9, topics: 7, horizon: 6})[sealBytes:])
	f.Fuzz(func(t *testing.T, body []byte) {
		if s, err := decodeState(sealed(stateKey, body)); err == nil {
			if again, err := decodeState(appendState(nil, &s)); err != nil || s != again {
				t.Errorf("written and read: got %+v, %v, want %+v", again, err, s)
			}
		}
	})
}

func FuzzNumber(f *testing.F) {
	f.Add([]byte("=a"), []byte{5})
	f.Fuzz(func(t *testing.T, key, body []byte) {
		if n, err := decodeNumber(key, sealed(key, body)); err == nil {
			if again, err := decodeNumber(key, encodeNumber(key, n)); err != nil || n != again {
				t.Errorf("written and read: got %d, %v, want %d", again, err, n)
			}
		}
	})
}

func FuzzKeys(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
	f.Fuzz(func(t *testing.T, key []byte) {
		if a, b, err := pair(key); err == nil && !bytes.Equal(pairKey(a, b), key) {
			t.Errorf("pair: got %d, %d of % x", a, b, key)
		}
	})
}
