// Package tree is what a history file holds, and what a transaction does with it.
// It knows nothing of goroutines, and of the disk only what bbolt says.
//
// All of a history is in one tree, in the order of topic and offset, with each
// topic's [Head] behind its messages. Beside it are the topics by name, by time what
// is due, and by their own keys the messages that have one: no part of it is held in
// memory from one transaction to the next, so neither opening a file nor knowing a topic
// costs any.
package tree

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/go-chime/chime/store/boltstore/internal/disk"
)

var (
	metaBucket    = []byte("meta")
	topicBucket   = []byte("topics")   // name → number
	messageBucket = []byte("messages") // number and offset → record; number and the highest → head
	dueBucket     = []byte("due")      // time and number → name
	onceBucket    = []byte("once")     // number and a message's own key → offset

	buckets = [][]byte{metaBucket, topicBucket, messageBucket, dueBucket, onceBucket}

	magicKey   = []byte("magic")
	versionKey = []byte("version") // apart from the rest, so that any version can read it
	stateKey   = []byte("state")

	magic = []byte("chime history")
)

const version = 4 // of the layout

// Mark says how the file was last left.
type Mark byte

const (
	Closed Mark = iota // in order
	InUse
	Copied // a backup: the original may have gone on from here
	marks
)

// State is what the file says of itself. Each commit writes it: the bucket is so
// small that it is on a page which is written anyway.
type State struct {
	Epoch   string
	Mark    Mark
	seq     uint64 // the last offset given
	topics  uint64 // the last number of a topic given
	known   uint64 // topics that are known
	horizon uint64 // no topic that was dropped had an offset beyond it
}

// Known returns how many topics are known.
func (s *State) Known() uint64 { return s.known }

// NewEpoch returns 128 random bits.
func NewEpoch() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // ends the program rather than fail
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func appendState(b []byte, s *State) []byte {
	start := len(b)
	b = begin(b)
	b = append(b, byte(s.Mark))
	b = appendBytes(b, s.Epoch)
	for _, v := range []uint64{s.seq, s.topics, s.known, s.horizon} {
		b = binary.AppendUvarint(b, v)
	}
	seal(stateKey, b[start:])
	return b
}

func decodeState(value []byte) (State, error) {
	r, err := unseal(stateKey, value)
	if err != nil {
		return State{}, err
	}
	s := State{Mark: Mark(r.byte()), Epoch: string(r.bytes())}
	s.seq, s.topics, s.known, s.horizon = r.uint(), r.uint(), r.uint(), r.uint()
	if r.err == nil && (s.Mark >= marks || s.Epoch == "" || s.horizon > s.seq) {
		return State{}, errRange
	}
	return s, r.end()
}

// Empty reports whether nothing was laid out yet.
func Empty(tx *bolt.Tx) bool {
	k, _ := tx.Cursor().First()
	return k == nil
}

// Known returns an error unless the file is ours, or nothing was laid out yet.
func Known(tx *bolt.Tx) error {
	if Empty(tx) {
		return nil
	}
	_, err := ReadState(tx)
	return err
}

// ReadState says what the file is, or why it is none of ours.
func ReadState(tx *bolt.Tx) (State, error) {
	b := tx.Bucket(metaBucket)
	if b == nil || string(b.Get(magicKey)) != string(magic) {
		return State{}, disk.ErrForeign
	}
	v := b.Get(versionKey)
	if len(v) != 4 {
		return State{}, fmt.Errorf("%w: its version has %d bytes, want 4", disk.ErrDamaged, len(v))
	}
	if n := binary.BigEndian.Uint32(v); n > version {
		return State{}, fmt.Errorf("%w: layout %d, this one knows %d", disk.ErrNewer, n, version)
	} else if n < version {
		return State{}, fmt.Errorf("%w: layout %d, this one knows %d", disk.ErrOlder, n, version)
	}
	for _, name := range buckets {
		if tx.Bucket(name) == nil {
			return State{}, fmt.Errorf("%w: it has no bucket %q", disk.ErrDamaged, name)
		}
	}
	return readState(tx)
}

func readState(tx *bolt.Tx) (State, error) {
	s, err := decodeState(tx.Bucket(metaBucket).Get(stateKey))
	if err != nil {
		err = fmt.Errorf("%w: its state: %w", disk.ErrDamaged, err)
	}
	return s, err
}

// Put writes s.
func (s *State) Put(tx *bolt.Tx) error {
	return tx.Bucket(metaBucket).Put(stateKey, appendState(nil, s))
}

// Begin has the offsets that are given be later than one.
func (s *State) Begin(offset uint64) { s.seq = offset }

// Create lays out an empty file.
func Create(tx *bolt.Tx, s *State) error {
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
	return s.Put(tx)
}
