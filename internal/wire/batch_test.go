package wire_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/go-chime/chime/internal/wire"
)

func TestDecodeBatch(t *testing.T) {
	one := frame("1", "2", "t", "e", `{}`)
	tests := []struct {
		name, text string
		want       wire.Batch
	}{
		{"two frames", `{"first":3,"received":40,"frames":[["1","2","t","e",{}],[null,null,"u","f",[1]]]}`,
			wire.Batch{First: 3, Received: 40, Frames: []wire.Frame{one, frame("", "", "u", "f", `[1]`)}}},
		{"only an ack", `{"first":1,"received":40,"frames":[]}`, wire.Batch{First: 1, Received: 40, Frames: []wire.Frame{}}},
		{"no frames, nothing received", `{"first":1}`, wire.Batch{First: 1, Frames: []wire.Frame{}}},
		{"another order, more keys, spaces", " {\n\"frames\" : [ [\"1\",\"2\",\"t\",\"e\",{\n}] ] , \"x\":{}, \"first\" : 1 } \r\n", wire.Batch{First: 1, Frames: []wire.Frame{one}}},
		{"the greatest number", `{"first":18446744073709551615}`, wire.Batch{First: 1<<64 - 1, Frames: []wire.Frame{}}},
		{"a frame of just the size", `{"first":1,"frames":[["1","2","t","e","` + strings.Repeat("x", 80) + `"]]}`,
			wire.Batch{First: 1, Frames: []wire.Frame{frame("1", "2", "t", "e", `"`+strings.Repeat("x", 80)+`"`)}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := wire.DecodeBatch([]byte(tt.text), 2, 100)
			if err != nil {
				t.Fatalf("got error %q, want none", err)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestDecodeBatchRefuses(t *testing.T) {
	const ok = `["1","2","t","e",{}]`
	tests := []struct {
		name, text string
		frame      int
		reason     string // how it begins
	}{
		{"nothing", ``, 0, "batch is not of the form"},
		{"no JSON", `hello`, 0, "batch is not of the form"},
		{"cut off", `{"first":1,"frames":[` + ok, 0, "batch is not of the form"},
		{"an array", `[` + ok + `]`, 0, `batch is not of the form {"first","received","frames"}: want an object`},
		{"frames a string", `{"first":1,"frames":"x"}`, 0, `batch is not of the form {"first","received","frames"}: frames: want an array`},
		{"first a string", `{"first":"1"}`, 0, `batch is not of the form {"first","received","frames"}: first: want a number`},
		{"first negative", `{"first":-1}`, 0, `batch is not of the form {"first","received","frames"}: first: want a number`},
		{"first a fraction", `{"first":1.5}`, 0, `batch is not of the form {"first","received","frames"}: first: want a number`},
		{"first beyond 64 bits", `{"first":18446744073709551616}`, 0, `batch is not of the form`},
		{"received an object", `{"first":1,"received":{}}`, 0, `batch is not of the form {"first","received","frames"}: received: want a number`},
		{"two batches", `{"first":1}{"first":2}`, 0, "batch is not of the form"},
		{"a bracket behind it", `{"first":1}]`, 0, "batch is not of the form"},
		{"a brace behind it", `{"first":1}}`, 0, "batch is not of the form"},
		{"no first", `{"frames":[` + ok + `]}`, 0, "batch has no first: want a number from 1"},
		{"first null", `{"first":null}`, 0, "batch has no first: want a number from 1"},
		{"first 0", `{"first":0}`, 0, "batch has no first: want a number from 1"},
		{"null", `null`, 0, "batch is not of the form"},
		{"too many frames", `{"first":1,"frames":[` + ok + `,` + ok + `,` + ok + `]}`, 0, "batch has too many frames: want at most 2"},
		{"too many frames, and what is none behind them", `{"first":1,"frames":[` + ok + `,` + ok + `,0,x`, 0, "batch has too many frames: want at most 2"},
		{"frames given twice", `{"first":1,"frames":[` + ok + `],"frames":[]}`, 0, "batch is not of the form"},
		{"no frames given twice", `{"first":1,"frames":[],"frames":[]}`, 0, "batch is not of the form"},
		{"null given before frames", `{"first":1,"frames":null,"frames":[` + ok + `]}`, 0, "batch is not of the form"},
		{"frames that do not end", `{"first":1,"frames":[` + ok, 0, "batch is not of the form"},
		{"a comma behind the last frame", `{"first":1,"frames":[` + ok + `,]}`, 2, "frame is not valid JSON"},
		{"20,000 deep", `{"first":1,"frames":[` + nested(20000) + `]}`, 1, "frame is not valid JSON"},
		{"a frame that is none, before what is no batch", `{"first":1,"frames":[0,`, 1, "frame is not an array"},
		{"a frame that is no JSON", `{"first":1,"frames":[` + ok + `,["1","2","t","e",{]]}`, 2, "frame is not valid JSON"},

		{"the first frame", `{"first":1,"frames":[[],` + ok + `]}`, 1, "frame has fewer than 5 elements"},
		{"the second frame", `{"first":1,"frames":[` + ok + `,null]}`, 2, "frame is not an array"},
		{"a frame too large", `{"first":1,"frames":[` + ok + `,["1","2","t","e","` + strings.Repeat("x", 81) + `"]]}`, 2, "frame has 101 bytes: want at most 100"},
		{"a bad byte in a frame", "{\"first\":1,\"frames\":[[null,null,\"t\xff\",\"e\",{}]]}", 1, "frame is not valid UTF-8"},
		{"wrong types in a frame", `{"first":1,"frames":[[1,2,3,4,5]]}`, 1, "frame has a join_ref that is no string"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, err := wire.DecodeBatch([]byte(tt.text), 2, 100)
			var wrong *wire.BatchError
			if !errors.As(err, &wrong) {
				t.Fatalf("got %+v and error %v, want a *BatchError", b, err)
			}
			if wrong.Frame != tt.frame || !strings.HasPrefix(wrong.Reason, tt.reason) {
				t.Errorf("got frame %d and reason %q, want %d and %q", wrong.Frame, wrong.Reason, tt.frame, tt.reason)
			}
			if !reflect.DeepEqual(b, wire.Batch{}) {
				t.Errorf("got %+v with the error, want no part of the batch", b)
			}
			if strings.Contains(wrong.Reason, "Go ") || strings.Contains(wrong.Reason, "wire.") {
				t.Errorf("reason %q names what is inside, which is no client's business", wrong.Reason)
			}
		})
	}
}

func TestBatchErrorNamesTheFrame(t *testing.T) {
	err := &wire.BatchError{Frame: 2, Reason: "frame is not an array"}
	if got, want := err.Error(), "frame 2 of the batch: frame is not an array"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
