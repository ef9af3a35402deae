package tree

import (
	"cmp"
	"errors"
	"fmt"
	"math"

	bolt "go.etcd.io/bbolt"

	"github.com/go-chime/chime/store/boltstore/internal/disk"
)

var (
	errMissing  = errors.New("it is missing")
	errNameless = errors.New("the name of its topic is missing")
	errNumber   = errors.New("its number is another topic's, or none")
	errBeyond   = errors.New("it is beyond the last one of its topic")
	errOrder    = errors.New("it does not follow on the one before it")
	errDue      = errors.New("nothing says when it is due")
)

// Report is what [Verify] found in a file.
type Report struct {
	Topics   int   // that are remembered
	Messages int   // that are kept
	Bytes    int64 // of their payloads
	Waiting  int   // messages that are to be deleted
}

// mostFaults is how many faults of a file an error names.
const mostFaults = 10

// Faults is one error for many, which are bounded in what they say.
func Faults(faults []error) error {
	if more := len(faults) - mostFaults; more > 0 {
		faults = append(faults[:mostFaults:mostFaults], fmt.Errorf("and %d more", more))
	}
	return errors.Join(faults...)
}

// Verify reads all of a file and compares it with itself.
func Verify(tx *bolt.Tx) (Report, error) {
	s, err := ReadState(tx)
	if err != nil {
		return Report{}, err
	}
	v := verifier{names: map[uint64]string{}, due: tx.Bucket(dueBucket), once: tx.Bucket(onceBucket), heads: tx.Bucket(messageBucket).Cursor()}
	for name, id := range Names(tx, v.fault) {
		if v.names[id] != "" || id == 0 || id > s.topics {
			v.fault(badTopic(name, errNumber))
		}
		v.names[id] = name
		v.Topics++
	}
	if len(v.faults) == 0 && uint64(v.Topics) != s.known {
		v.fault(fmt.Errorf("%w: it has %d topics, and should have %d", disk.ErrDamaged, v.Topics, s.known))
	}
	c := tx.Bucket(messageBucket).Cursor()
	for k, value := c.First(); k != nil; k, value = c.Next() {
		id, offset, err := pair(k)
		if err != nil {
			v.fault(badKey(k, err))
			continue
		}
		if id != v.topic {
			v.begin(id)
		}
		if offset == math.MaxUint64 {
			v.end()
		} else if fault := v.message(offset, k, value); fault != nil {
			v.fault(badRecord(offset, fault))
		}
	}
	for _, name := range v.names {
		v.fault(badTopic(name, errMissing))
	}
	v.keys(tx)
	return v.Report, Faults(v.faults)
}

// verifier goes over the messages, topic by topic.
type verifier struct {
	Report
	faults []error
	names  map[uint64]string // of the topics that were not met yet
	due    *bolt.Bucket
	once   *bolt.Bucket
	heads  *bolt.Cursor

	// What follows is of one topic.
	topic  uint64
	name   string
	known  bool     // it has a name
	head   *Head    // nil: it can't be read
	before uint64   // the message before
	n      uint64   // messages beyond the floor
	size   uint64   // bytes that these take
	absent []uint64 // those that others follow on and that were not there: deleted by Redact, or lost
}

func (v *verifier) fault(err error) {
	if err != nil {
		v.faults = append(v.faults, err)
	}
}

func (v *verifier) begin(id uint64) {
	v.topic, v.head, v.before, v.n, v.size, v.absent = id, nil, 0, 0, 0, nil
	if v.name, v.known = v.names[id]; !v.known {
		return
	}
	delete(v.names, id)
	h, err := headAt(v.heads, id)
	if err == nil {
		v.head = &h
	}
	if err == nil && h.due != 0 && v.due.Get(dueKey(h.due, id)) == nil {
		err = errDue
	}
	v.fault(badTopic(v.name, err))
}

func (v *verifier) message(offset uint64, key, value []byte) error {
	rec, err := decodeRecord(key, value)
	if v.head == nil {
		if err == nil && !v.known {
			err = errNameless
		}
		return err
	}
	if offset > v.head.Top {
		return cmp.Or(err, errBeyond)
	}
	if err == nil && rec.prev < v.before {
		err = errOrder
	}
	if err == nil && rec.prev > max(v.before, v.head.Floor) {
		v.absent = append(v.absent, rec.prev)
	}
	v.before = offset
	if offset <= v.head.Floor {
		v.Waiting++
		return err
	}
	v.n++
	v.size += recordBytes(key, value)
	v.Messages++
	v.Bytes += int64(len(rec.data))
	if err == nil && rec.key != "" {
		at := onceKey(v.topic, rec.key)
		if n, wrong := decodeNumber(at, v.once.Get(at)); wrong != nil || n != offset {
			err = errUnkeyed
		}
	}
	return err
}

// keys has each key that is not free lead to a message that has it. What such a message
// says is compared by message.
func (v *verifier) keys(tx *bolt.Tx) {
	messages := tx.Bucket(messageBucket)
	_ = eachOnce(tx, func(k, value []byte, id uint64, h *Head, err error) error {
		if err == nil {
			err = leads(messages, k, value, id, h)
		}
		if err != nil {
			v.fault(fmt.Errorf("%w: the key %q of a message: %w", disk.ErrDamaged, k[min(8, len(k)):], err))
		}
		return nil
	})
}

// leads returns nil if an entry leads to a message that has the key, or can't be read, or
// to one that is gone.
func leads(messages *bolt.Bucket, k, v []byte, id uint64, h *Head) error {
	offset, err := decodeNumber(k, v)
	if err != nil || offset <= h.Floor {
		return err
	}
	at := recordKey(id, offset)
	value := messages.Get(at)
	if value == nil {
		return errAstray
	}
	if rec, err := decodeRecord(at, value); err == nil && rec.key != string(k[8:]) {
		return errAstray
	}
	return nil
}

// end compares the head with the messages before it.
func (v *verifier) end() {
	if v.head == nil {
		return
	}
	if v.head.Top > max(v.before, v.head.Floor) {
		v.absent = append(v.absent, v.head.Top)
	}
	switch missing := v.head.n - v.n; {
	case missing == 0:
		if v.size != v.head.size {
			v.fault(badTopic(v.name, fmt.Errorf("its messages take %d bytes, and should take %d", v.size, v.head.size)))
		}
	case missing == uint64(len(v.absent)):
		for _, offset := range v.absent {
			v.fault(badRecord(offset, errMissing))
		}
	default:
		v.fault(badTopic(v.name, fmt.Errorf("it has %d messages, and should have %d", v.n, v.head.n)))
	}
}
