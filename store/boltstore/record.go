package boltstore

import (
	"encoding/binary"
	"time"

	"github.com/go-chime/chime/store"
)

// record is a message as it stands in the log, under its offset. What comes
// after the last checkpoint has to stand for itself: from these records alone
// Open learns what their topics are called, how much of them is kept and what
// is missing from them.
type record struct {
	seq   uint64
	topic uint64
	prev  uint64 // the topic's offset before
	floor uint64 // of the topic, once this message was let in
	at    int64  // Unix nanoseconds

	name  *string          // with the first record of a topic
	keep  *store.Retention // where it differs from that of the record before
	event string
	data  []byte // the payload
	bin   bool
}

const (
	isBinary = 1 << iota
	hasName
	hasKeep
	knownFlags = 1<<iota - 1
)

// appendRecord appends the sealed value to b.
func appendRecord(b, key []byte, r *record) []byte {
	start := len(b)
	b = begin(b)
	flags := byte(0)
	if r.bin {
		flags |= isBinary
	}
	if r.name != nil {
		flags |= hasName
	}
	if r.keep != nil {
		flags |= hasKeep
	}
	b = append(b, flags)
	b = binary.AppendUvarint(b, r.topic)
	b = binary.AppendUvarint(b, r.seq-r.prev)
	b = binary.AppendUvarint(b, r.seq-r.floor)
	b = appendFixed(b, r.at)
	if r.name != nil {
		b = appendBytes(b, *r.name)
	}
	if r.keep != nil {
		b = appendKeep(b, *r.keep)
	}
	b = appendBytes(b, r.event)
	b = append(b, r.data...)
	seal(key, b[start:])
	return b
}

// decodeRecord reads what appendRecord wrote. Its data is value's memory.
func decodeRecord(key, value []byte) (record, error) {
	var rec record
	seq, err := number(key)
	if err != nil {
		return rec, err
	}
	r, err := unseal(key, value)
	if err != nil {
		return rec, err
	}
	flags := r.byte()
	if flags&^knownFlags != 0 {
		return rec, errVersion
	}
	rec.seq, rec.bin = seq, flags&isBinary != 0
	rec.topic = r.uint()
	rec.prev, rec.floor = r.back(seq), r.back(seq)
	rec.at = r.fixed()
	if flags&hasName != 0 {
		name := string(r.bytes())
		rec.name = &name
	}
	if flags&hasKeep != 0 {
		keep := r.keep()
		rec.keep = &keep
	}
	rec.event = string(r.bytes())
	rec.data, r.b = r.b, nil
	if r.err == nil && rec.prev == seq {
		return rec, errRange // it would lead a reader in a circle
	}
	return rec, r.end()
}

// message returns a copy that outlives the transaction.
func (r *record) message() store.Message {
	m := store.Message{
		Offset: r.seq, Prev: r.prev, At: time.Unix(0, r.at),
		Event: r.event, Binary: r.bin,
	}
	if len(r.data) > 0 {
		m.Payload = append(make([]byte, 0, len(r.data)), r.data...)
	}
	return m
}

func appendKeep(b []byte, keep store.Retention) []byte {
	return binary.AppendVarint(binary.AppendVarint(b, int64(keep.Keep)), int64(keep.Age))
}

func (r *reader) keep() store.Retention {
	keep := r.int()
	if int64(int(keep)) != keep {
		r.fail(errRange)
	}
	return store.Retention{Keep: int(keep), Age: time.Duration(r.int())}
}
