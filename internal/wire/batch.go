package wire

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Batch is the body of a POST: what a client on a stream sends.
type Batch struct {
	First    uint64  // the number of the first counted frame, from 1
	Received uint64  // how many counted frames the client has received
	Frames   []Frame // in the order sent
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
// many frames, each of so many bytes; it is taken whole or not at all. The error is
// a *BatchError.
func DecodeBatch(data []byte, frames, frameBytes int) (Batch, error) {
	var raw struct {
		First    *uint64           `json:"first"`
		Received uint64            `json:"received"`
		Frames   []json.RawMessage `json:"frames"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return Batch{}, &BatchError{0, "batch is not of the form {\"first\",\"received\",\"frames\"}: " + jsonReason(err)}
	}
	switch {
	case raw.First == nil || *raw.First == 0:
		return Batch{}, &BatchError{0, "batch has no first: want a number from 1"}
	case len(raw.Frames) > frames:
		return Batch{}, &BatchError{0, fmt.Sprintf("batch has %d frames: want at most %d", len(raw.Frames), frames)}
	}
	b := Batch{First: *raw.First, Received: raw.Received, Frames: make([]Frame, len(raw.Frames))}
	for i, text := range raw.Frames {
		if len(text) > frameBytes {
			return Batch{}, &BatchError{i + 1, fmt.Sprintf("frame has %d bytes: want at most %d", len(text), frameBytes)}
		}
		f, err := Decode(text)
		if err != nil {
			return Batch{}, &BatchError{i + 1, err.Error()}
		}
		b.Frames[i] = f
	}
	return b, nil
}

// jsonReason is what a client may read of a decoding error: never a Go type.
func jsonReason(err error) string {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if wrong.Field != "" {
			return fmt.Sprintf("%s: got %s", wrong.Field, wrong.Value)
		}
		return "got " + wrong.Value
	}
	return err.Error()
}
