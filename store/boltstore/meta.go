package boltstore

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// The file has four buckets. The log has the messages in the order of their
// arrival, whatever their topic: then a commit touches the last page of one
// tree. The index has, per topic, where in the log its messages are. What a
// checkpoint writes is exact for the log up to there; the log after it says
// what changed since.
var (
	metaBucket  = []byte("meta")
	topicBucket = []byte("topics") // id → topicRecord
	indexBucket = []byte("index")  // id and first sequence → block
	logBucket   = []byte("log")    // sequence → record

	buckets = [][]byte{metaBucket, topicBucket, indexBucket, logBucket}

	magicKey   = []byte("magic")
	versionKey = []byte("version") // apart from the rest, so that any version can read it
	stateKey   = []byte("state")

	magic = []byte("chime history")
)

const version = 1 // of the layout

// mark says how the store was last left.
type mark byte

const (
	clean  mark = iota // closed in order
	synced             // in use, all that was seen is in the file
	behind             // in use, what was seen may be missing
	copied             // a backup: the original may have gone on from here
	marks
)

// meta is what the file says of itself.
type meta struct {
	epoch      string
	seq        uint64 // at least the last that was given at the checkpoint
	checkpoint uint64 // the index covers the log up to here
	nextID     uint64 // of a topic
	horizon    uint64 // no topic that was dropped had an offset beyond it
	mark       mark
}

func newEpoch() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // ends the program rather than fail
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func appendMeta(b []byte, m *meta) []byte {
	start := len(b)
	b = begin(b)
	b = append(b, byte(m.mark))
	b = appendBytes(b, m.epoch)
	for _, v := range []uint64{m.seq, m.checkpoint, m.nextID, m.horizon} {
		b = binary.AppendUvarint(b, v)
	}
	seal(stateKey, b[start:])
	return b
}

func decodeMeta(value []byte) (meta, error) {
	r, err := unseal(stateKey, value)
	if err != nil {
		return meta{}, err
	}
	m := meta{mark: mark(r.byte()), epoch: string(r.bytes())}
	m.seq, m.checkpoint, m.nextID, m.horizon = r.uint(), r.uint(), r.uint(), r.uint()
	if r.err == nil && (m.mark >= marks || m.epoch == "" || m.checkpoint > m.seq || m.horizon > m.seq) {
		return meta{}, errRange
	}
	return m, r.end()
}

func putMeta(tx *bolt.Tx, m *meta) error {
	return tx.Bucket(metaBucket).Put(stateKey, appendMeta(nil, m))
}

// readMeta says what the file is, or why it is none of ours.
func readMeta(tx *bolt.Tx) (meta, error) {
	b := tx.Bucket(metaBucket)
	if b == nil || string(b.Get(magicKey)) != string(magic) {
		return meta{}, ErrForeign
	}
	v := b.Get(versionKey)
	if len(v) != 4 {
		return meta{}, fmt.Errorf("%w: its version has %d bytes, want 4", ErrDamaged, len(v))
	}
	if n := binary.BigEndian.Uint32(v); n != version {
		return meta{}, fmt.Errorf("%w: layout %d, this one knows %d", ErrNewer, n, version)
	}
	for _, name := range buckets {
		if tx.Bucket(name) == nil {
			return meta{}, fmt.Errorf("%w: it has no bucket %q", ErrDamaged, name)
		}
	}
	m, err := decodeMeta(b.Get(stateKey))
	if err != nil {
		return meta{}, fmt.Errorf("%w: its state: %w", ErrDamaged, err)
	}
	return m, nil
}

// create lays out an empty file.
func create(tx *bolt.Tx, m *meta) error {
	for _, name := range buckets {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	b := tx.Bucket(metaBucket)
	if err := b.Put(magicKey, magic); err != nil {
		return err
	}
	if err := b.Put(versionKey, binary.BigEndian.AppendUint32(nil, version)); err != nil {
		return err
	}
	return putMeta(tx, m)
}
