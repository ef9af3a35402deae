package wire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-chime/chime/internal/wire"
)

// checkDecoded fails unless f is what a decoder may give out: safe for every
// transport, and the same after it has gone through one.
func checkDecoded(t *testing.T, f wire.Frame) {
	t.Helper()
	for _, s := range []string{f.JoinRef.String(), f.Ref.String(), f.Topic, f.Event, string(f.Payload)} {
		if !utf8.ValidString(s) {
			t.Fatalf("%q is not valid UTF-8", s)
		}
	}
	var m *wire.Message
	if f.Binary != nil {
		if f.Payload != nil {
			t.Fatalf("got payload %q and binary %q, want one of them", f.Payload, f.Binary)
		}
		m = wire.NewBinaryPush(f.Topic, f.Event, f.Binary, 0).WithRefs(f.JoinRef, f.Ref)
	} else {
		if !json.Valid(f.Payload) || bytes.ContainsAny(f.Payload, "\r\n") {
			t.Fatalf("payload %q is not JSON in one line", f.Payload)
		}
		m = wire.NewFrame(f.JoinRef, f.Ref, f.Topic, f.Event, f.Payload)
	}
	text := m.AppendText(nil, false, "")
	if bytes.ContainsAny(text, "\r\n") || !utf8.Valid(text) {
		t.Fatalf("frame %q is not one line of UTF-8", text)
	}
	again, err := wire.Decode(text)
	if err != nil || !reflect.DeepEqual(again, f) {
		t.Fatalf("%s became %q, which decodes to %s and error %v", describe(f), text, describe(again), err)
	}
}

// seeds are frames good and bad.
var seeds = []string{
	`["1","2","room:1","msg",{"a":1}]`,
	`[null,null,"phoenix","heartbeat",{}]`,
	" [ \"1\" ,\t\"2\",\r\n\"t\" , \"e\" , { \"a\" : [ 1 , null ] , \"b\" : {\n} } , 6 ] ",
	`["\u0031\ud83c\udf88","\ud800","\/\b\f\n\r\t\"\\","é\u2028日",{"\u0000":"\udc00"}]`,
	`[null,null,"t","e",{"@binary":"AAEC\/w=="}]`,
	`[null,null,"t","e",{"@binary" : "AP8="}]`,
	`[null,null,"t","e",{"@binary":"%"}]`,
	`[null,null,"t","e",{"@binary":null,"@binary":""}]`,
	`[null,null,"t","e",-0.5E+7]`,
	`[null,null,"t","e",true,false,nul]`,
	`["]","[,","t,]}","{\"e",{"a]":"\\\"],{"},]`,
	`[1,2,3,4,5]`, `["1","2","t","e"]`, `[]`, `{}`, `"["`, "", " ",
	"[null,null,\"t\xff\",\"e\",{}]",
	"[null,null,\"t\",\"e\",{\"a\":\"\xed\xa0\x80\"}]",
}

func FuzzDecode(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		frame, err := wire.Decode(data)
		if !bytes.Equal(data, before) {
			t.Fatal("Decode has changed its input")
		}
		checkJSON(t, data, err)
		var elements []json.RawMessage
		if isArray := json.Unmarshal(data, &elements) == nil && elements != nil && utf8.Valid(data); !isArray || len(elements) < 5 {
			if err == nil {
				t.Fatalf("got %s, want an error", describe(frame))
			}
			return
		}
		if err != nil {
			checkRefusal(t, elements, err)
			return
		}
		checkDecoded(t, frame)
		checkElements(t, elements, frame)
	})
}

// checkJSON fails unless Decode takes for JSON what encoding/json does: that is
// not ours to define.
func checkJSON(t *testing.T, data []byte, err error) {
	t.Helper()
	if !utf8.Valid(data) {
		return
	}
	refused := err != nil && err.Error() == "frame is not valid JSON"
	if valid := json.Valid(data); valid == refused {
		t.Fatalf("%q: got error %v, want it taken for JSON: %v", data, err, valid)
	}
}

// checkRefusal fails if an array of at least five elements was refused without
// a reason.
func checkRefusal(t *testing.T, elements []json.RawMessage, err error) {
	t.Helper()
	for i, e := range elements[:4] {
		if e[0] != '"' && (i > 1 || string(e) != "null") {
			return
		}
	}
	var fields map[string]any
	if json.Unmarshal(elements[4], &fields) == nil && len(fields) == 1 {
		if _, binary := fields["@binary"].(string); binary {
			return
		}
	}
	t.Fatalf("got error %v, want the frame", err)
}

// checkElements compares a frame with what encoding/json finds in its text.
func checkElements(t *testing.T, elements []json.RawMessage, f wire.Frame) {
	t.Helper()
	for i, got := range []any{ref(f.JoinRef), ref(f.Ref), f.Topic, f.Event} {
		var want any
		if err := json.Unmarshal(elements[i], &want); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Fatalf("element %d: got %v, want %v", i, got, want)
		}
	}
	if f.Binary == nil {
		var got, want bytes.Buffer
		if json.Compact(&got, f.Payload) != nil || json.Compact(&want, elements[4]) != nil || !bytes.Equal(got.Bytes(), want.Bytes()) {
			t.Fatalf("payload: got %q, want %q", f.Payload, elements[4])
		}
	}
}

func ref(r wire.Ref) any {
	if r.Null() {
		return nil
	}
	return r.String()
}

func FuzzDecodeBatch(f *testing.F) {
	f.Add([]byte(`{"first":1,"received":40,"frames":[["1","2","t","e",{}]]}`))
	f.Add([]byte("{ \"frames\" : [[\"1\",\"2\",\"t\",\"e\",{\n}] ,[\"1\",\"2\",\"t\",\"e\",7]], \"FIRST\":2}"))
	f.Add([]byte(`{"first":1}]`))
	f.Add([]byte(`{"first":0,"received":-1,"frames":null}`))
	f.Add([]byte(`{"first":1,"frames":[null,[],{}]}`))
	for _, s := range seeds {
		f.Add([]byte(`{"first":1,"frames":[` + s + `]}`))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		const frames, frameBytes = 3, 1000
		b, err := wire.DecodeBatch(data, frames, frameBytes)
		if err != nil {
			var wrong *wire.BatchError
			if !errors.As(err, &wrong) || wrong.Reason == "" || wrong.Frame < 0 || wrong.Frame > frames {
				t.Fatalf("got error %#v, want a *BatchError that names a frame", err)
			}
			if !reflect.DeepEqual(b, wire.Batch{}) {
				t.Fatalf("got %+v with the error, want no part of the batch", b)
			}
			return
		}
		if b.First == 0 || len(b.Frames) > frames || !json.Valid(data) {
			t.Fatalf("got %+v of %q, want it refused", b, data)
		}
		for _, frame := range b.Frames {
			checkDecoded(t, frame)
		}
	})
}

func FuzzDecodeBinary(f *testing.F) {
	f.Add([]byte("\x00\x02\x03\x05\x0512123topiceventfirst"))
	f.Add([]byte("\x00\x00\x00\x01\x01te"))
	f.Add([]byte("\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x00\xff\xff\xff\xff"))
	f.Add([]byte("\x00\x01\x01\x01\x01\xff\xff\xff\xff"))
	f.Add([]byte("\x02\x01\x01te"))
	f.Fuzz(func(t *testing.T, data []byte) {
		frame, err := wire.DecodeBinary(data)
		if err != nil {
			return
		}
		checkDecoded(t, frame)
		if again := binaryPush(frame.JoinRef.String(), frame.Ref.String(), frame.Topic, frame.Event, string(frame.Binary)); !bytes.Equal(again, data) {
			t.Fatalf("%q became %s, and that %q", data, describe(frame), again)
		}
	})
}

// FuzzEvent shows that nothing an application or a client can put into a
// message breaks out of its event.
func FuzzEvent(f *testing.F) {
	f.Add("room:1", "msg", []byte(`{"a":1}`), uint64(42), false)
	f.Add("a\r\nb", "data: x\n\nid: 9\n\n", []byte("{\"a\":\r\n\"\\n\\n\"}"), uint64(0), false)
	f.Add("\x00\u2028", "\xff", []byte(" [1,\n2]\t"), uint64(1), false)
	f.Add("t", "e", []byte("\r\n\r\ndata: x\n\n\x00\xff"), uint64(7), true)
	f.Add("chime", "closed", []byte("null"), uint64(0), false)
	f.Fuzz(func(t *testing.T, topic, event string, payload []byte, offset uint64, raw bool) {
		var m *wire.Message
		want := []any{nil, nil, asJSON(t, topic), asJSON(t, event), nil}
		if offset > 0 {
			want[1] = fmt.Sprintf("@%d", offset)
		}
		if raw {
			m = wire.NewBinaryPush(topic, event, payload, offset)
			want[4] = asJSON(t, map[string][]byte{"@binary": append([]byte{}, payload...)})
		} else {
			text, err := wire.EncodeValue(json.RawMessage(payload))
			if err != nil {
				if utf8.Valid(payload) && json.Valid(payload) {
					t.Fatalf("payload %q: got error %v, want it sent", payload, err)
				}
				return
			}
			m = wire.NewPush(topic, event, text, offset)
			want[4] = asJSON(t, json.RawMessage(text))
		}

		events, err := readEvents(string(m.AppendEvent(nil)) + "id: 8\ndata: next\n\n")
		if err != nil || len(events) != 2 || events[1] != (streamEvent{"8", "next"}) || events[0].id != "" {
			t.Fatalf("got %q and error %v, want one event and then the next", events, err)
		}
		var got []any
		if err := json.Unmarshal([]byte(events[0].data), &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("got %v and error %v, want %v", got, err, want)
		}
	})
}

// asJSON is v as it looks after a way through JSON.
func asJSON(t *testing.T, v any) any {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// streamEvent is one event of a stream.
type streamEvent struct{ id, data string }

var errStream = errors.New("no event stream as we write it")

// readEvents reads an event stream as WHATWG HTML says in section 9.2.6, but
// refuses what a browser would skip: fields that we don't write, a NUL, bytes
// that are no UTF-8, an event without its end.
func readEvents(stream string) ([]streamEvent, error) {
	if !utf8.ValidString(stream) || strings.ContainsRune(stream, 0) {
		return nil, errStream
	}
	lines := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(stream), "\n")
	if lines[len(lines)-1] != "" {
		return nil, errStream
	}
	var events []streamEvent
	var e streamEvent
	var data []string
	for _, line := range lines[:len(lines)-1] {
		if line == "" {
			if data != nil {
				e.data = strings.Join(data, "\n")
				events = append(events, e)
			}
			e, data = streamEvent{}, nil
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "": // a comment
		case "id":
			e.id = value
		case "data":
			data = append(data, value)
		default:
			return nil, errStream
		}
	}
	if data != nil {
		return nil, errStream
	}
	return events, nil
}
