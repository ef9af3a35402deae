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
	key   string // "": none
	sum   string // "": none
	event string
	data  []byte // the payload
}

// What the first byte of a record says.
const (
	isBinary = 1 << iota
	hasKey
	hasSum
	flagsEnd
)

// appendRecord appends the sealed value to b.
func appendRecord(b, key []byte, r *record) []byte {
	start := len(b)
	b = begin(b)
	flags := byte(0)
	if r.bin {
		flags |= isBinary
	}
	if r.key != "" {
		flags |= hasKey
	}
	if r.sum != "" {
		flags |= hasSum
	}
	b = append(b, flags)
	for _, s := range []string{r.key, r.sum} {
		if s != "" {
			b = append(append(b, byte(len(s))), s...)
		}
	}
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
	flags := r.byte()
	var once, sum string
	if flags&hasKey != 0 {
		once = string(r.take(uint64(r.byte())))
	}
	if flags&hasSum != 0 {
		sum = string(r.take(uint64(r.byte())))
	}
	rec = record{bin: flags&isBinary != 0, key: once, sum: sum, prev: r.uint(), at: r.fixed(), event: string(r.bytes()), data: r.b}
	r.b = nil
	if r.err == nil && (flags >= flagsEnd || rec.prev >= offset || (flags&hasKey != 0) == (once == "") || (flags&hasSum != 0) == (sum == "")) {
		r.fail(errRange)
	}
	return rec, r.end()
}

// keyed reports whether a record has a key, without a look at its checksum: it is for
// values that are gone through many at a time.
func keyed(value []byte) bool { return len(value) > sealBytes && value[sealBytes]&hasKey != 0 }

// message returns a copy that outlives the transaction.
func (r *record) message(offset uint64) store.Message {
	m := store.Message{Offset: offset, Prev: r.prev, At: time.Unix(0, r.at), Event: r.event, Binary: r.bin, Key: r.key, Sum: r.sum}
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
