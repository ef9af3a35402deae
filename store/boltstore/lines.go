package boltstore

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sort"
	"time"
	"unicode/utf8"

	bolt "go.etcd.io/bbolt"

	"github.com/go-chime/chime/store"
)

// Line is a message as [Export] writes it and [Import] reads it: one JSON object.
type Line struct {
	Topic   string          `json:"topic"`
	Offset  uint64          `json:"offset,omitempty"` // Import gives others
	At      time.Time       `json:"at"`
	Event   string          `json:"event"`
	Payload json.RawMessage `json:"payload,omitempty"`
	Bytes   *[]byte         `json:"bytes,omitempty"` // in base64, instead of a payload that is no JSON
	Binary  bool            `json:"binary,omitempty"`
	Keep    int             `json:"keep,omitempty"` // the topic's retention
	Age     string          `json:"age,omitempty"`  // as time.ParseDuration takes it
}

// NewLine returns the line of a message. It fails if the topic or the event is
// not UTF-8, which JSON can't say.
func NewLine(topic string, m store.Message, keep store.Retention) (Line, error) {
	if !utf8.ValidString(topic) || !utf8.ValidString(m.Event) {
		return Line{}, fmt.Errorf("message at offset %d: topic %q or event %q is not UTF-8", m.Offset, topic, m.Event)
	}
	l := Line{Topic: topic, Offset: m.Offset, At: m.At.UTC(), Event: m.Event, Binary: m.Binary, Keep: max(keep.Keep, 0)}
	if keep.Age > 0 {
		l.Age = keep.Age.String()
	}
	if m.Binary || !json.Valid(m.Payload) || !utf8.Valid(m.Payload) {
		payload := m.Payload
		if payload == nil {
			payload = []byte{}
		}
		l.Bytes = &payload
	} else {
		l.Payload = m.Payload
	}
	return l, nil
}

// message is NewLine the other way round.
func (l *Line) message() (m store.Message, keep store.Retention, err error) {
	m = store.Message{At: l.At, Event: l.Event, Payload: l.Payload, Binary: l.Binary}
	keep.Keep = l.Keep
	switch {
	case l.Topic == "":
		return m, keep, errors.New("it has no topic")
	case (l.Payload == nil) == (l.Bytes == nil):
		return m, keep, errors.New("it has to have either payload or bytes")
	case l.Bytes != nil:
		m.Payload = *l.Bytes
	case l.Binary:
		return m, keep, errors.New("it is binary, and has a payload instead of bytes")
	}
	if l.Age != "" {
		keep.Age, err = time.ParseDuration(l.Age)
	}
	return m, keep, err
}

// toldOf is how many faults of a file an error names.
const toldOf = 10

// several is one error for many, which are bounded in what they say.
func several(faults []error) error {
	if more := len(faults) - toldOf; more > 0 {
		faults = append(faults[:toldOf:toldOf], fmt.Errorf("and %d more", more))
	}
	return errors.Join(faults...)
}

// Export writes what is kept to w, a [Line] for each message in the order of the
// offsets, with one Write each. What is damaged is left out, and said in the error,
// of many records the first ten.
func (r *Reader) Export(w io.Writer) (err error) {
	s, now := r.s, clock()
	defer s.guard(&err)
	defer noFault()()
	return s.readTx(func(tx *bolt.Tx) error {
		type shelf struct {
			*topic
			floor uint64
		}
		topics := map[uint64]shelf{}
		dropped := map[uint64]bool{}
		for _, t := range s.rotten {
			dropped[t.id] = t.dropped
		}
		for _, t := range s.order {
			floor, err := t.visible(now, within(tx))
			if err != nil {
				return err
			}
			topics[t.id] = shelf{t, floor}
		}
		var wrong []error
		leftOut := func(k []byte, err error) {
			seq, bad := number(k)
			if bad != nil {
				wrong = append(wrong, fmt.Errorf("%w with the key % x is left out: %w", errRecord, k, bad))
				return
			}
			of := ""
			if t := s.owner(seq, within(tx)); t != nil && seq <= topics[t.id].floor {
				return // nobody sees it any more
			} else if t != nil {
				of = fmt.Sprintf(" of %q", t.name)
			}
			wrong = append(wrong, fmt.Errorf("%w at offset %d%s is left out: %w", errRecord, seq, of, err))
		}
		c := tx.Bucket(logBucket).Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			rec, err := decodeRecord(k, v)
			if err != nil {
				leftOut(k, err)
				continue
			}
			t, ok := topics[rec.topic]
			if !ok && !dropped[rec.topic] {
				wrong = append(wrong, fmt.Errorf("%w at offset %d is left out: %w", errRecord, rec.seq, errNameless))
			}
			if !ok || rec.seq <= t.floor {
				continue
			}
			l, err := NewLine(t.name, rec.message(), t.keep)
			if err != nil {
				wrong = append(wrong, err)
				continue
			}
			if err := l.Write(w); err != nil {
				return &outsideError{err}
			}
		}
		if len(wrong) > 0 {
			return &FileError{s.path, several(wrong), "check the disk and go back to a backup, or import what was written into a new file"}
		}
		return nil
	})
}

// owner returns the topic whose index leads to seq, or nil. The record itself
// can't say it.
func (s *Store) owner(seq uint64, from loader) *topic {
	for _, t := range s.order {
		if t.has(seq, from) {
			return t
		}
	}
	return nil
}

// has reports whether the index of t, as far as it can be read, has seq.
func (t *topic) has(seq uint64, from loader) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := sort.Search(len(t.blocks), func(i int) bool { return t.blocks[i].last >= seq })
	if i == len(t.blocks) || t.blocks[i].first > seq {
		return false
	}
	entries, err := t.entries(t.blocks[i], from)
	return err == nil && slices.ContainsFunc(entries, func(e entry) bool { return e.seq == seq })
}

// Write writes the line and its end to w, with one Write.
func (l *Line) Write(w io.Writer) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(l); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

// Import makes the file at path, which must not be there yet, of lines as
// [Reader.Export] writes them. It has an epoch and offsets of its own. What has
// aged by now, and what is more than a topic keeps, is not in it. If anything is
// wrong with a line there is no file.
func Import(path string, r io.Reader) (messages int, err error) {
	if err := absent(path); err != nil {
		return 0, fmt.Errorf("import history: %w", err)
	}
	err = replace(path, fileMode, (*os.File).Sync, func(name string) error {
		s, err := Open(name, Options{WriteBehind: true}) // Close syncs
		if err != nil {
			return err
		}
		messages, err = s.bring(r)
		return cmp.Or(err, s.Close()) // Close is called in both cases
	})
	if err != nil {
		return 0, fmt.Errorf("import history: %w", err)
	}
	return messages, nil
}

// bring appends what r has.
func (s *Store) bring(r io.Reader) (n int, err error) {
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	for {
		var l Line
		err := d.Decode(&l)
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		n++
		if err != nil {
			return 0, badMessage(n, err)
		}
		m, keep, err := l.message()
		if err != nil {
			return 0, badMessage(n, err)
		}
		if err := s.Append(context.Background(), l.Topic, m, keep, nil); err != nil {
			return 0, err
		}
	}
}

// badMessage counts messages: there may be empty lines, or several to one.
func badMessage(n int, err error) error { return &outsideError{fmt.Errorf("message %d: %w", n, err)} }
