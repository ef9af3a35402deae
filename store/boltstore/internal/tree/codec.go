package tree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Every value in the file is sealed: a CRC-32C over its key and what follows,
// then a version. The key is in it because bbolt has no sums of its own: a
// record that turns up under another key, by a page that was written to the
// wrong place, is as wrong as one with a flipped bit.
const (
	sealBytes   = 5
	sealVersion = 2
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	errSum     = errors.New("its checksum does not match")
	errShort   = errors.New("it ends early")
	errExcess  = errors.New("it has more bytes than it should")
	errRange   = errors.New("it holds a number out of range")
	errVersion = errors.New("it has a version that is not known")
)

// begin appends room for a seal to b. What is appended after it is sealed by seal.
func begin(b []byte) []byte { return append(b, 0, 0, 0, 0, sealVersion) }

// seal completes the value b.
func seal(key, b []byte) { binary.LittleEndian.PutUint32(b, sum(key, b[4:])) }

func sum(key, rest []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, rest)
}

// unseal checks a value and returns a reader of what is sealed in it.
func unseal(key, value []byte) (reader, error) {
	if len(value) < sealBytes {
		return reader{}, errShort
	}
	if binary.LittleEndian.Uint32(value) != sum(key, value[4:]) {
		return reader{}, errSum
	}
	if v := value[4]; v != sealVersion {
		return reader{}, fmt.Errorf("%w: %d", errVersion, v)
	}
	return reader{b: value[sealBytes:]}, nil
}

// reader takes values off b. After the first error it returns zeros.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail(errShort)
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail(errShort)
		return 0
	}
	r.b = r.b[n:]
	return v
}

// fixed is for times: as a varint they would take more.
func (r *reader) fixed() int64 {
	if len(r.b) < 8 {
		r.fail(errShort)
		return 0
	}
	v := int64(binary.LittleEndian.Uint64(r.b))
	r.b = r.b[8:]
	return v
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail(errShort)
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

// bytes returns a part of the value itself, not a copy.
func (r *reader) bytes() []byte { return r.take(r.uint()) }

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail(errShort)
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// end reports the first error, or that something is left.
func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		return errExcess
	}
	return r.err
}

func appendBytes(b []byte, v string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

func appendFixed(b []byte, v int64) []byte { return binary.LittleEndian.AppendUint64(b, uint64(v)) }
