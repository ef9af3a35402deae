package tree

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Keys are big-endian, so that bbolt has them in the order of their numbers.

// nameKey is the key of a topic's name. bbolt takes no empty key, and a topic may
// have an empty name.
func nameKey(name string) []byte { return append([]byte{'='}, name...) }

func pairKey(a, b uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(make([]byte, 0, 16), a), b)
}

// recordKey is the key of the message with this offset.
func recordKey(topic, offset uint64) []byte { return pairKey(topic, offset) }

// headKey is the key of a topic's head. It follows on the topic's messages: what
// an append writes is on one page with it.
func headKey(topic uint64) []byte { return pairKey(topic, math.MaxUint64) }

// onceKey is the key of where a topic has the message with a key of its own.
func onceKey(topic uint64, key string) []byte {
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(key)), topic), key...)
}

// dueKey is the key of what is due of a topic at a time in Unix nanoseconds.
func dueKey(at int64, topic uint64) []byte { return pairKey(uint64(max(at, 0)), topic) }

// pair reads a key of two numbers.
func pair(key []byte) (a, b uint64, err error) {
	if len(key) != 16 {
		return 0, 0, fmt.Errorf("a key has %d bytes, want 16", len(key))
	}
	return binary.BigEndian.Uint64(key), binary.BigEndian.Uint64(key[8:]), nil
}

// within returns the offset of a message's key if it is of the topic.
func within(topic uint64, key []byte) (offset uint64, ok bool) {
	id, offset, err := pair(key)
	return offset, err == nil && id == topic && offset != math.MaxUint64
}
