package tree

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore/internal/disk"
)

// record is a message as it stands in the tree, under its topic and offset.
type record struct {
	prev  uint64 // the topic's offset before
	at    int64  // Unix nanoseconds
	bin   bool
	event string
	data  []byte // the payload
}

// appendRecord appends the sealed value to b.
func appendRecord(b, key []byte, r *record) []byte {
	start := len(b)
	b = begin(b)
	bin := byte(0)
	if r.bin {
		bin = 1
	}
	b = append(b, bin)
	b = binary.AppendUvarint(b, r.prev)
	b = appendFixed(b, r.at)
	b = appendBytes(b, r.event)
	b = append(b, r.data...)
	seal(key, b[start:])
	return b
}

// decodeRecord reads what appendRecord wrote. Its data is value's memory.
func decodeRecord(key, value []byte) (rec record, err error) {
	_, offset, err := pair(key)
	if err != nil {
		return rec, err
	}
	r, err := unseal(key, value)
	if err != nil {
		return rec, err
	}
	bin := r.byte()
	rec = record{bin: bin == 1, prev: r.uint(), at: r.fixed(), event: string(r.bytes()), data: r.b}
	r.b = nil
	if r.err == nil && (bin > 1 || rec.prev >= offset) {
		r.fail(errRange)
	}
	return rec, r.end()
}

// message returns a copy that outlives the transaction.
func (r *record) message(offset uint64) store.Message {
	m := store.Message{Offset: offset, Prev: r.prev, At: time.Unix(0, r.at), Event: r.event, Binary: r.bin}
	if len(r.data) > 0 {
		m.Payload = append(make([]byte, 0, len(r.data)), r.data...)
	}
	return m
}

// badRecord is the error of one record.
func badRecord(offset uint64, err error) error {
	return fmt.Errorf("%w at offset %d: %w", disk.ErrRecord, offset, err)
}

// badKey is the error of a record whose key can't be right.
func badKey(key []byte, err error) error {
	return fmt.Errorf("%w with the key % x: %w", disk.ErrRecord, key, err)
}
