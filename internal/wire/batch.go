package wire

import (
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// Batch is the body of a POST: what a client on a stream sends.
type Batch struct {
	First    uint64  // the number of the first counted frame, from 1
	Received uint64  // how many counted frames the client has received
	Frames   []Frame // in the order sent
}

// Last returns the number of the last counted frame, or that before the first if there is none.
func (b *Batch) Last() uint64 {
	last := b.First - 1
	for i := range b.Frames {
		if Counted(b.Frames[i].Topic) {
			last++
		}
	}
	return last
}

// BatchError says which frame of a batch is wrong.
type BatchError struct {
	Frame  int // from 1; 0 is the batch itself
	Reason string
}

func (e *BatchError) Error() string {
	return fmt.Sprintf("frame %d of the batch: %s", e.Frame, e.Reason)
}

// DecodeBatch reads {"first":1,"received":40,"frames":[[…],…]}. A batch may have so
// many frames, each of so many bytes; it is taken whole or not at all. It is read in
// one pass, which ends at the first thing that is wrong, so a batch that is none costs
// no more than one. The error is a *BatchError.
func DecodeBatch(data []byte, frames, frameBytes int) (Batch, error) {
	b, keys, given := Batch{Frames: []Frame{}}, 0, false
	end, err := object(data, space(data, 0), func(name []byte, i int) (int, error) {
		switch keys++; {
		case keys > maxBatchKeys:
			return -1, malformed(fmt.Sprintf("want at most %d keys", maxBatchKeys))
		case same(name, "first"):
			return batchNumber(data, i, "first", &b.First)
		case same(name, "received"):
			return batchNumber(data, i, "received", &b.Received)
		case same(name, "frames") && given:
			return -1, malformed("frames: given twice")
		case same(name, "frames"):
			given = true
			return b.frames(data, i, frames, frameBytes)
		}
		_, end := value(data, i, nil) // of a later version
		return end, nil
	})
	switch {
	case errors.Is(err, errNotObject) && space(data, 0) < len(data):
		err = malformed("want an object")
	case err != nil && !errors.Is(err, errNotObject):
	case end < 0 || space(data, end) != len(data):
		err = malformed("not valid JSON")
	case b.First == 0:
		err = &BatchError{0, "batch has no first: want a number from 1"}
	}
	if err != nil {
		return Batch{}, err
	}
	return b, nil
}

// maxBatchKeys leaves room for what later versions may say.
const maxBatchKeys = 16

func malformed(why string) error {
	return &BatchError{0, `batch is not of the form {"first","received","frames"}: ` + why}
}

// batchNumber reads the number at i, or null for 0.
func batchNumber(data []byte, i int, name string, n *uint64) (int, error) {
	_, end := value(data, i, nil)
	if end < 0 {
		return -1, nil
	}
	text := string(data[i:min(end, i+maxNumber)])
	if text == "null" {
		*n = 0
		return end, nil
	}
	var err error
	if *n, err = strconv.ParseUint(text, 10, 64); err != nil || end-i > maxNumber {
		return -1, malformed(name + ": want a number from 0 to 18446744073709551615")
	}
	return end, nil
}

// maxNumber is how many digits a number of 64 bits can have.
const maxNumber = 20

// frames reads the array of frames at i, or null for none.
func (b *Batch) frames(data []byte, i, most, frameBytes int) (int, error) {
	if end := literal(data, i, "null"); end >= 0 {
		return end, nil
	}
	if i == len(data) || data[i] != '[' {
		return -1, malformed("frames: want an array")
	}
	if i = space(data, i+1); i < len(data) && data[i] == ']' {
		return i + 1, nil
	}
	for more := true; more; {
		if len(b.Frames) == most {
			return -1, &BatchError{0, fmt.Sprintf("batch has too many frames: want at most %d", most)}
		}
		var elements [5][]byte
		n, end := value(data, i, &elements)
		f, err := Frame{}, errNotJSON
		switch {
		case end < 0:
		case end-i > frameBytes:
			err = fmt.Errorf("frame has %d bytes: want at most %d", end-i, frameBytes)
		case !utf8.Valid(data[i:end]):
			err = errNotUTF8
		default:
			f, err = frameOf(data[i], n, &elements)
		}
		if err != nil {
			return -1, &BatchError{len(b.Frames) + 1, err.Error()}
		}
		b.Frames = append(b.Frames, f)
		if i, more = next(data, end, ']'); i < 0 {
			return -1, nil
		}
	}
	return i, nil
}
