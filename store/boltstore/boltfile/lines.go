package boltfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"time"
	"unicode/utf8"

	bolt "go.etcd.io/bbolt"

	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore/internal/disk"
	"github.com/go-chime/chime/store/boltstore/internal/tree"
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
	Key     string          `json:"key,omitempty"`
	Sum     string          `json:"sum,omitempty"`
	Keep    int             `json:"keep,omitempty"` // the topic's retention
	Age     string          `json:"age,omitempty"`  // as time.ParseDuration takes it
}

// NewLine returns the line of a message. It fails if the topic or the event is
// not UTF-8, which JSON can't say.
func NewLine(topic string, m store.Message, keep store.Retention) (Line, error) {
	if !utf8.ValidString(topic) || !utf8.ValidString(m.Event) {
		return Line{}, fmt.Errorf("message at offset %d: topic %q or event %q is not UTF-8", m.Offset, topic, m.Event)
	}
	l := Line{Topic: topic, Offset: m.Offset, At: m.At.UTC(), Event: m.Event, Binary: m.Binary, Key: m.Key, Sum: m.Sum, Keep: max(keep.Keep, 0)}
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

// Message is [NewLine] the other way round: the message of l.Topic, without its offset.
func (l *Line) Message() (m store.Message, keep store.Retention, err error) {
	m = store.Message{At: l.At, Event: l.Event, Payload: l.Payload, Binary: l.Binary, Key: l.Key, Sum: l.Sum}
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

// Export writes what is kept to w: topic by topic, by their names, a [Line] for each
// message in their order, with one Write each. What is damaged is left out, and said
// in the error, of many records the first ten.
func (r *Reader) Export(w io.Writer) error {
	now := clock()
	return r.file.View(func(tx *bolt.Tx) error {
		var faults []error
		fault := func(err error) { faults = append(faults, fmt.Errorf("%w: it is left out", err)) }
		known := map[uint64]bool{}
		for name, id := range tree.Names(tx, fault) {
			known[id] = true
			err := tree.Messages(tx, name, id, now, func(h *tree.Head, m store.Message, wrong error) error {
				if wrong != nil {
					faults = append(faults, fmt.Errorf("%w at offset %d of %q is left out: %w", disk.ErrRecord, m.Offset, name, wrong))
					return nil
				}
				l, err := NewLine(name, m, h.Keep)
				if err != nil {
					faults = append(faults, err)
					return nil
				}
				return disk.NotOfTheFile(l.Write(w))
			})
			if _, outside := errors.AsType[*disk.OutsideError](err); outside {
				return err
			}
			if err != nil {
				fault(err)
			}
		}
		tree.Strays(tx, known, fault)
		if len(faults) > 0 {
			return &disk.FileError{
				Path: r.file.Path(), Err: tree.Faults(faults),
				Remedy: "check the disk and go back to a backup, or import what was written into a new file",
			}
		}
		return nil
	})
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
// [Reader.Export] writes them. It has an epoch and offsets of its own, which no message
// had where the lines come from. What has
// aged by now, and what is more than a topic keeps, is not in it. If anything is
// wrong with a line there is no file.
func Import(path string, r io.Reader) (messages int, err error) {
	err = disk.Absent(path)
	if err == nil {
		err = disk.Replace(path, disk.FileMode, (*os.File).Sync, func(name string) error {
			return fill(name, func(w *writer) error {
				state := tree.State{Epoch: tree.NewEpoch()}
				state.Begin(beyond(clock()))
				if err := w.update(func(tx *bolt.Tx) error { return tree.Create(tx, &state) }); err != nil {
					return err
				}
				messages, err = w.lines(r)
				return err
			})
		})
	}
	if err != nil {
		return 0, fmt.Errorf("import history: %w", err)
	}
	return messages, nil
}

// beyond is an offset beyond those of any file that lines were exported from by now, in
// Unix nanoseconds: no file had a message for each microsecond. A payload may name an offset, as
// that does which says that a message was taken back, and must not mean another message
// here. JavaScript has such numbers until 2255.
func beyond(now int64) uint64 { return uint64(max(now, 0)) / uint64(time.Microsecond) }

// lines appends what r has.
func (w *writer) lines(r io.Reader) (n int, err error) {
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	for more := true; more; {
		if err := w.update(func(tx *bolt.Tx) error {
			p, err := tree.Begin(tx, clock(), nil)
			if err != nil {
				return err
			}
			for size := 0; more && size < batchBytes; {
				var l Line
				err := d.Decode(&l)
				if more = !errors.Is(err, io.EOF); !more {
					break
				}
				if n++; err == nil {
					err = l.append(p)
				}
				if err != nil { // counted by messages: there may be empty lines, or several to one
					return disk.NotOfTheFile(fmt.Errorf("message %d: %w", n, err))
				}
				size += len(l.Payload) + len(l.Event)
			}
			tree.NewSweeper(p).Sweep(math.MaxInt, math.MaxInt)
			_, err = p.End()
			return err
		}); err != nil {
			return 0, err
		}
	}
	return n, nil
}

func (l *Line) append(p *tree.Plan) error {
	m, keep, err := l.Message()
	if err == nil {
		err = tree.Size(l.Topic, &m)
	}
	if err != nil {
		return err
	}
	_, anew, err := p.Append(l.Topic, m, keep)
	if err == nil && !anew {
		err = fmt.Errorf("key %q: one before it has it", m.Key)
	}
	return err
}
