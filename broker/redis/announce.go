package redis

import (
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

// An announcement is a line and what it says the lengths of:
//
//	M offset prev at erases len(head) len(from) len(key)    then head, from, key, payload
//	E offset
//	P before change node     who has come and gone: then what pack makes
//	G before change node     all of the node have
//
// A newer version may add kinds, and fields at the end of the line: they are ignored.
// At is in µs. Erases is an offset, "all" or 0.

// binaryFlag begins the head of a message whose payload is not text.
const binaryFlag = 1

// head is what of a message the scripts need not know.
func head(m *store.Message) string {
	b := make([]byte, 1, 16+len(m.Event)+len(m.Sum))
	if m.Binary {
		b[0] = binaryFlag
	}
	return string(append(lengthAnd(b, m.Event), m.Sum...))
}

func lengthAnd(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

var errForm = errors.New("not in the form of this version")

// setHead is the reverse of head.
func setHead(m *store.Message, head string) error {
	if head == "" {
		return errForm
	}
	m.Binary = head[0]&binaryFlag != 0
	event, sum, ok := cut(head[1:])
	m.Event, m.Sum = event, sum
	if !ok {
		return errForm
	}
	return nil
}

// setEntry sets of m what script/topic.lua has in one field.
func setEntry(m *store.Message, text string) (err error) {
	fields := strings.SplitN(text, " ", 6)
	if len(fields) != 6 {
		return errForm
	}
	if m.Prev, err = strconv.ParseUint(fields[0], 10, 64); err != nil {
		return errForm
	}
	if m.At, err = moment(fields[1]); err != nil {
		return errForm
	}
	name, err := strconv.Atoi(fields[3])
	if err != nil {
		return errForm
	}
	key, err := strconv.Atoi(fields[4])
	rest := fields[5]
	if err != nil || name < 0 || key < 0 || name+key > len(rest) {
		return errForm
	}
	m.Key = rest[name : name+key]
	return setHead(m, rest[name+key:])
}

// cut takes a text that its length precedes off s.
func cut(s string) (text, rest string, ok bool) {
	n, width := binary.Uvarint([]byte(s[:min(len(s), binary.MaxVarintLen64)]))
	if width <= 0 || n > uint64(len(s)-width) {
		return "", "", false
	}
	s = s[width:]
	return s[:n], s[n:], true
}

// moment is the time of so many µs.
func moment(micros string) (time.Time, error) {
	n, err := strconv.ParseInt(micros, 10, 64)
	return time.UnixMicro(n), err
}

const erasesAll = "all"

// ephemeral is the announcement of p, which has no offset.
func ephemeral(p *broker.Publication) string {
	h := head(&p.Message)
	line := "M 0 0 " + strconv.FormatInt(p.At.UnixMicro(), 10) + " 0 " + strconv.Itoa(len(h)) + " " + strconv.Itoa(len(p.From)) + " " + strconv.Itoa(len(p.Key)) + "\n"
	var b strings.Builder
	b.Grow(len(line) + len(h) + len(p.From) + len(p.Key) + len(p.Payload))
	for _, s := range []string{line, h, p.From, p.Key} {
		b.WriteString(s)
	}
	b.Write(p.Payload)
	return b.String()
}

// published reads the fields of a line that begins with M, and what follows it.
func published(fields []string, rest string) (p broker.Publication, err error) {
	var numbers [7]uint64
	if len(fields) < len(numbers) {
		return p, errForm
	}
	for i, f := range fields[:len(numbers)] {
		switch {
		case i == 2:
			p.At, err = moment(f)
		case i == 3 && f == erasesAll:
			numbers[i] = store.All
		default:
			numbers[i], err = strconv.ParseUint(f, 10, 64)
		}
		if err != nil {
			return p, errForm
		}
	}
	p.Offset, p.Prev, p.Erases = numbers[0], numbers[1], numbers[3]
	var parts [3]string
	for i, n := range numbers[4:] {
		if n > uint64(len(rest)) {
			return p, errForm
		}
		parts[i], rest = rest[:n], rest[n:]
	}
	p.From, p.Key, p.Payload = parts[1], parts[2], []byte(rest)
	return p, setHead(&p.Message, parts[0])
}

// pack is who has come and gone, as it is announced.
func pack(c broker.Change) string {
	b := binary.AppendUvarint(nil, uint64(len(c.Joins)))
	for _, list := range [][]broker.Present{c.Joins, c.Leaves} {
		for _, p := range list {
			b = lengthAnd(lengthAnd(lengthAnd(b, p.Ref), p.Key), string(p.Meta))
		}
	}
	return string(b)
}

// unpack is the reverse of pack.
func unpack(s string) (c broker.Change, err error) {
	joins, width := binary.Uvarint([]byte(s[:min(len(s), binary.MaxVarintLen64)]))
	if width <= 0 {
		return c, errForm
	}
	for s = s[width:]; s != ""; {
		var parts [3]string
		for i := range parts {
			var ok bool
			if parts[i], s, ok = cut(s); !ok {
				return c, errForm
			}
		}
		p := broker.Present{Ref: parts[0], Key: parts[1], Meta: []byte(parts[2])}
		if uint64(len(c.Joins)) < joins {
			c.Joins = append(c.Joins, p)
		} else {
			c.Leaves = append(c.Leaves, p)
		}
	}
	return c, nil
}
