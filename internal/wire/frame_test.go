package wire_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/go-chime/chime/internal/wire"
)

// frame makes what most tests want to see; "" as a ref is null.
func frame(joinRef, ref, topic, event, payload string) wire.Frame {
	f := wire.Frame{Topic: topic, Event: event, Payload: json.RawMessage(payload)}
	if joinRef != "" {
		f.JoinRef = wire.RefOf(joinRef)
	}
	if ref != "" {
		f.Ref = wire.RefOf(ref)
	}
	return f
}

func binaryFrame(joinRef, ref, topic, event string, data []byte) wire.Frame {
	f := frame(joinRef, ref, topic, event, "")
	f.Payload, f.Binary = nil, data
	return f
}

func nested(depth int) string {
	return strings.Repeat("[", depth) + strings.Repeat("]", depth)
}

func TestDecode(t *testing.T) {
	empty := frame("", "", "", "e", "{}")
	empty.JoinRef, empty.Ref = wire.RefOf(""), wire.RefOf("")
	tests := []struct {
		name, text string
		want       wire.Frame
	}{
		{"a push", `["1","2","room:1","msg",{"a":1}]`, frame("1", "2", "room:1", "msg", `{"a":1}`)},
		{"null refs", `[null,null,"room:1","msg",{}]`, frame("", "", "room:1", "msg", `{}`)},
		{"empty strings are no null", `["","","","e",{}]`, empty},
		{"refs that differ", `["12","x y","t","e",{}]`, frame("12", "x y", "t", "e", `{}`)},

		{"spaces everywhere", " \t\r\n[ \"1\" ,\t\"2\"\r,\n\"t\" , \"e\" , {} ] \n", frame("1", "2", "t", "e", `{}`)},
		{"spaces in the payload stay", `[null,null,"t","e",{ "a" : [ 1 , 2 ] }]`, frame("", "", "t", "e", `{ "a" : [ 1 , 2 ] }`)},
		{"a payload over several lines becomes one", "[null,null,\"t\",\"e\",{\r\n\t\"a\" : \"x y\"\n}]", frame("", "", "t", "e", `{"a":"x y"}`)},

		{"more elements are ignored", `["1","2","t","e",{},6,"seven",[8],{"n":9}]`, frame("1", "2", "t", "e", `{}`)},

		{"payload null", `[null,null,"t","e",null]`, frame("", "", "t", "e", `null`)},
		{"payload true", `[null,null,"t","e",true]`, frame("", "", "t", "e", `true`)},
		{"payload number", `[null,null,"t","e",-1.5e-7]`, frame("", "", "t", "e", `-1.5e-7`)},
		{"payload a number beyond float64", `[null,null,"t","e",1e999]`, frame("", "", "t", "e", `1e999`)},
		{"payload string", `[null,null,"t","e","x"]`, frame("", "", "t", "e", `"x"`)},
		{"payload array", `[null,null,"t","e",[]]`, frame("", "", "t", "e", `[]`)},
		{"payload array of arrays", `[null,null,"t","e",[[],[{}]],6]`, frame("", "", "t", "e", `[[],[{}]]`)},

		{"brackets, commas and quotes in strings", `["]","[,","t,]}","{\"e",{"a]":"\\\"],{"}]`, frame("]", "[,", "t,]}", `{"e`, `{"a]":"\\\"],{"}`)},
		{"escapes", `["\u0031","\/\b\f\n\r\t","caf\u00e9:\ud83c\udf88","\\\"",{}]`, frame("1", "/\b\f\n\r\t", "café:🎈", `\"`, `{}`)},
		{"a payload keeps its escapes", `[null,null,"t","e",{"a":"\u0000\r\n\u2028\ud800"}]`, frame("", "", "t", "e", `{"a":"\u0000\r\n\u2028\ud800"}`)},
		{"a lone surrogate in a name", `["\ud800","2","a\udc00b","\ud800\u0041",{}]`, frame("\ufffd", "2", "a\ufffdb", "\ufffdA", `{}`)},
		{"a surrogate pair the wrong way round", `[null,null,"\udc00\ud800","e",{}]`, frame("", "", "\ufffd\ufffd", "e", `{}`)},
		{"NUL in a name", `[null,null,"a\u0000b","e",{}]`, frame("", "", "a\x00b", "e", `{}`)},
		{"other scripts", `["é","日","комната","🎈",{"日":"本"}]`, frame("é", "日", "комната", "🎈", `{"日":"本"}`)},
		{"raw U+2028 and DEL", "[null,null,\"a\u2028b\",\"\x7f\",{\"a\":\"\u2029\"}]", frame("", "", "a\u2028b", "\x7f", "{\"a\":\"\u2029\"}")},
		{"duplicate keys stay as they are", `[null,null,"t","e",{"a":1,"a":2,"a":{"b":1,"b":2}}]`, frame("", "", "t", "e", `{"a":1,"a":2,"a":{"b":1,"b":2}}`)},
		{"as deep as the standard library goes", `[null,null,"t","e",` + nested(9999) + `]`, frame("", "", "t", "e", nested(9999))},

		{"binary", `["1","2","t","e",{"@binary":"AAEC/w=="}]`, binaryFrame("1", "2", "t", "e", []byte{0, 1, 2, 255})},
		{"binary without bytes", `["1","2","t","e",{"@binary":""}]`, binaryFrame("1", "2", "t", "e", []byte{})},
		{"binary as Python spells it", `["1","2","t","e",{"@binary": "AAEC/w=="}]`, binaryFrame("1", "2", "t", "e", []byte{0, 1, 2, 255})},
		{"binary as PHP spells it", `["1","2","t","e",{"@binary":"AAEC\/w=="}]`, binaryFrame("1", "2", "t", "e", []byte{0, 1, 2, 255})},
		{"binary over several lines", "[\"1\",\"2\",\"t\",\"e\",{\n\t\"@binary\" : \"AAEC/w==\"\n}]", binaryFrame("1", "2", "t", "e", []byte{0, 1, 2, 255})},
		{"binary with a key that is escaped", `["1","2","t","e",{"\u0040bin\u0061ry":"AAEC/w=="}]`, binaryFrame("1", "2", "t", "e", []byte{0, 1, 2, 255})},
		{"binary with a key all of which is escaped", `["1","2","t","e",{ "\u0040\u0062\u0069\u006e\u0061\u0072\u0079" :"AAEC/w=="}]`, binaryFrame("1", "2", "t", "e", []byte{0, 1, 2, 255})},
		{"another key that is escaped", `["1","2","t","e",{"\u0040binar":"AA=="}]`, frame("1", "2", "t", "e", `{"\u0040binar":"AA=="}`)},
		{"refs of 255 bytes", `["` + strings.Repeat("r", 255) + `","` + strings.Repeat("s", 255) + `","t","e",{}]`, frame(strings.Repeat("r", 255), strings.Repeat("s", 255), "t", "e", `{}`)},
		{"@binary that is no string", `[null,null,"t","e",{"@binary":7}]`, frame("", "", "t", "e", `{"@binary":7}`)},
		{"@binary that is null", `[null,null,"t","e",{"@binary":null}]`, frame("", "", "t", "e", `{"@binary":null}`)},
		{"@binary with another key", `[null,null,"t","e",{"@binary":"AA==","a":1}]`, frame("", "", "t", "e", `{"@binary":"AA==","a":1}`)},
		{"@binary further down", `[null,null,"t","e",{"a":{"@binary":"AA=="}}]`, frame("", "", "t", "e", `{"a":{"@binary":"AA=="}}`)},
		{"@binary as a value", `[null,null,"t","e",{"a":"@binary"}]`, frame("", "", "t", "e", `{"a":"@binary"}`)},
		{"@binary in an array", `[null,null,"t","e",[{"@binary":"AA=="}]]`, frame("", "", "t", "e", `[{"@binary":"AA=="}]`)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := wire.Decode([]byte(tt.text))
			if err != nil {
				t.Fatalf("got error %q, want none", err)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %s\nwant %s", describe(got), describe(tt.want))
			}
		})
	}
}

func describe(f wire.Frame) string {
	payload := string(f.Payload)
	if len(payload) > 200 {
		payload = fmt.Sprintf("%.200s… of %d bytes", payload, len(payload))
	}
	return fmt.Sprintf("%+q %+q %+q %+q %q binary %v", f.JoinRef, f.Ref, f.Topic, f.Event, payload, f.Binary)
}

func TestDecodeRefuses(t *testing.T) {
	const (
		notJSON  = "frame is not valid JSON"
		notUTF8  = "frame is not valid UTF-8"
		notArray = "frame is not an array"
		short    = "frame has fewer than 5 elements"
	)
	tests := []struct{ name, text, want string }{
		{"nothing", "", notJSON},
		{"only spaces", " \t\r\n", notJSON},
		{"no JSON", "hello", notJSON},
		{"cut off", `["1","2","t","e",{`, notJSON},
		{"cut off in a string", `["1","2","t`, notJSON},
		{"cut off behind a backslash", `["1","2","t\`, notJSON},
		{"two values", `[null,null,"t","e",{}][]`, notJSON},
		{"a bracket too many", `[null,null,"t","e",{}]]`, notJSON},
		{"brackets crossed", `[null,null,"t","e",{]}`, notJSON},
		{"a comma too many", `[null,null,"t","e",{},]`, notJSON},
		{"two commas", `[null,,null,"t","e",{}]`, notJSON},
		{"a comma in front", `[,null,null,"t","e",{}]`, notJSON},
		{"no commas", `[null null "t" "e" {}]`, notJSON},
		{"a colon for a comma", `[null,null,"t":"e",{}]`, notJSON},
		{"single quotes", `[null,null,'t','e',{}]`, notJSON},
		{"a comment", `[null,null,"t","e",{}/**/]`, notJSON},
		{"a leading zero", `[null,null,"t","e",01]`, notJSON},
		{"a long join_ref", `["` + strings.Repeat("é", 128) + `",null,"t","e",{}]`, "frame has a join_ref of 256 bytes: want at most 255"},
		{"a long ref", `[null,"` + strings.Repeat(`\u0041`, 256) + `","t","e",{}]`, "frame has a ref of 256 bytes: want at most 255"},
		{"bytes that are none, with an escaped key", `[null,null,"t","e",{"\u0040binary":"!"}]`, "frame has a malformed @binary: illegal base64 data at input byte 0"},
		{"a lone minus", `[null,null,"t","e",-]`, notJSON},
		{"a point without digits", `[null,null,"t","e",1.]`, notJSON},
		{"an exponent without digits", `[null,null,"t","e",1e+]`, notJSON},
		{"a plus", `[null,null,"t","e",+1]`, notJSON},
		{"NaN", `[null,null,"t","e",NaN]`, notJSON},
		{"half a literal", `[null,null,"t","e",nul]`, notJSON},
		{"a literal too long", `[null,null,"t","e",nulll]`, notJSON},
		{"a key that is no string", `[null,null,"t","e",{1:2}]`, notJSON},
		{"a key without a value", `[null,null,"t","e",{"a"}]`, notJSON},
		{"an unknown escape", `[null,null,"\x","e",{}]`, notJSON},
		{"a short unicode escape", `[null,null,"\u12","e",{}]`, notJSON},
		{"raw LF in a string", "[null,null,\"t\",\"e\",{\"a\":\"x\ny\"}]", notJSON},
		{"raw NUL in a string", "[null,null,\"t\x00\",\"e\",{}]", notJSON},
		{"NUL behind it", "[null,null,\"t\",\"e\",{}]\x00", notJSON},
		{"a byte order mark", "\ufeff[null,null,\"t\",\"e\",{}]", notJSON},
		{"a no-break space", "[\u00a0null,null,\"t\",\"e\",{}]", notJSON},
		{"10,001 deep", `[null,null,"t","e",` + nested(10000) + `]`, notJSON},
		{"20,000 deep", nested(20000), notJSON},
		{"20,000 deep in objects", `[null,null,"t","e",` + strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20000) + `]`, notJSON},
		{"20,000 deep behind the payload", `[null,null,"t","e",{},` + nested(20000) + `]`, notJSON},
		{"20,000 deep and cut off", strings.Repeat("[", 20000), notJSON},

		{"a bad byte in the topic", "[null,null,\"t\xff\",\"e\",{}]", notUTF8},
		{"a bad byte in the payload", "[null,null,\"t\",\"e\",{\"a\":\"\xc3\"}]", notUTF8},
		{"a bad byte behind the payload", "[null,null,\"t\",\"e\",{},\"\xff\"]", notUTF8},
		{"a surrogate in UTF-8", "[null,null,\"\xed\xa0\x80\",\"e\",{}]", notUTF8},
		{"an overlong slash", "[null,null,\"\xc0\xaf\",\"e\",{}]", notUTF8},

		{"an object", `{"topic":"t","event":"e"}`, notArray},
		{"a string", `"[]"`, notArray},
		{"a number", `7`, notArray},
		{"null", ` null `, notArray},

		{"no elements", `[]`, short},
		{"four elements", `["1","2","t","e"]`, short},
		{"four elements and space", `["1","2","t","e" ] `, short},

		{"join_ref a number", `[1,"2","t","e",{}]`, "frame has a join_ref that is no string"},
		{"ref a number", `["1",2,"t","e",{}]`, "frame has a ref that is no string"},
		{"ref an array", `["1",["2"],"t","e",{}]`, "frame has a ref that is no string"},
		{"ref false", `["1",false,"t","e",{}]`, "frame has a ref that is no string"},
		{"topic null", `["1","2",null,"e",{}]`, "frame has a topic that is no string"},
		{"topic an object", `["1","2",{},"e",{}]`, "frame has a topic that is no string"},
		{"event a number", `["1","2","t",7,{}]`, "frame has an event that is no string"},
		{"event null", `["1","2","t",null,{}]`, "frame has an event that is no string"},

		{"@binary that is no base64", `["1","2","t","e",{"@binary":"%"}]`, "frame has a malformed @binary"},
		{"@binary cut off", `["1","2","t","e",{"@binary":"AAE"}]`, "frame has a malformed @binary"},
		{"@binary in the URL's alphabet", `["1","2","t","e",{"@binary":"_-8="}]`, "frame has a malformed @binary"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := wire.Decode([]byte(tt.text))
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got %s and error %v, want error %q", describe(f), err, tt.want)
			}
			if !reflect.DeepEqual(f, wire.Frame{}) {
				t.Errorf("got %s with the error, want no frame", describe(f))
			}
		})
	}
}

func TestDecodeTakesForJSONWhatEncodingJSONDoes(t *testing.T) {
	const alphabet = "[]{},:\"\\/ \t\n\r\x00\x1f\x7fabefnrtulsxABEF019-+."
	check := func(data []byte) {
		_, err := wire.Decode(data)
		checkJSON(t, data, err)
	}
	for _, seed := range seeds {
		for i := range len(seed) {
			check([]byte(seed[:i]))
			check([]byte(seed[:i] + seed[i+1:]))
			for _, c := range alphabet {
				check([]byte(seed[:i] + string(c) + seed[i:]))
				check([]byte(seed[:i] + string(c) + seed[i+1:]))
			}
		}
	}
	// All short texts of what makes up JSON.
	const parts, longest = "[]{},:\"\\u -0.e1", 4
	text := make([]byte, 0, longest)
	var longer func()
	longer = func() {
		check(text)
		if len(text) == longest {
			return
		}
		text = append(text, 0)
		for _, c := range []byte(parts) {
			text[len(text)-1] = c
			longer()
		}
		text = text[:len(text)-1]
	}
	longer()
}

func TestDecodeOwnsItsMemory(t *testing.T) {
	texts := []string{
		`["join","ref","topic","event",{"a":1}]`,
		`["join","ref","topic","event",{"@binary":"AAEC"}]`,
		`["\u006aoin","ref","topic","event",[1,
			2]]`,
	}
	for _, text := range texts {
		data := []byte(text)
		got, err := wire.Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		before := describe(got)
		for i := range data {
			data[i] = 'x'
		}
		if after := describe(got); after != before {
			t.Errorf("after the buffer was used again: got %s, want %s", after, before)
		}
	}
}

// binaryPush writes a push as a client of Phoenix does.
func binaryPush(joinRef, ref, topic, event, data string) []byte {
	b := []byte{0, byte(len(joinRef)), byte(len(ref)), byte(len(topic)), byte(len(event))}
	return append(b, joinRef+ref+topic+event+data...)
}

func TestDecodeBinary(t *testing.T) {
	long := strings.Repeat("x", 255)
	tests := []struct {
		name string
		data []byte
		want wire.Frame
	}{
		// test/phoenix/socket/v2_json_serializer_test.exs of Phoenix has this one.
		{"as in Phoenix's own tests", []byte("\x00\x02\x03\x05\x0512123topiceventfirst"), binaryFrame("12", "123", "topic", "event", []byte("first"))},
		{"null refs", binaryPush("", "", "t", "e", "\x00\xff"), binaryFrame("", "", "t", "e", []byte{0, 255})},
		{"no data", binaryPush("1", "2", "t", "e", ""), binaryFrame("1", "2", "t", "e", []byte{})},
		{"255 bytes each", binaryPush(long, long, long, long, "x"), binaryFrame(long, long, long, long, []byte("x"))},
		{"other scripts", binaryPush("é", "日", "комната", "🎈", "\x80"), binaryFrame("é", "日", "комната", "🎈", []byte{0x80})},
		{"nothing but lengths", []byte{0, 0, 0, 0, 0}, binaryFrame("", "", "", "", []byte{})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := wire.DecodeBinary(tt.data)
			if err != nil {
				t.Fatalf("got error %q, want none", err)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %s\nwant %s", describe(got), describe(tt.want))
			}
			before := describe(got)
			for i := range tt.data {
				tt.data[i] = 'x'
			}
			if after := describe(got); after != before {
				t.Errorf("after the buffer was used again: got %s, want %s", after, before)
			}
		})
	}
}

func TestDecodeBinaryRefuses(t *testing.T) {
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"a reply", []byte("\x01\x01\x01\x01\x0212tok{}"), "binary frame is no push"},
		{"a broadcast", []byte("\x02\x01\x01te{}"), "binary frame is no push"},
		{"text", []byte(`["1","2","t","e",{}]`), "binary frame is no push"},
		{"a bad byte in the join_ref", binaryPush("\xff", "2", "t", "e", ""), "frame is not valid UTF-8"},
		{"a bad byte in the ref", binaryPush("1", "\xff", "t", "e", ""), "frame is not valid UTF-8"},
		{"a bad byte in the topic", binaryPush("1", "2", "\xff", "e", ""), "frame is not valid UTF-8"},
		{"a bad byte in the event", binaryPush("1", "2", "t", "\xff", ""), "frame is not valid UTF-8"},
		{"a rune across two names", binaryPush("1", "2", "\xc3", "\xa9", ""), "frame is not valid UTF-8"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := wire.DecodeBinary(tt.data)
			if err == nil || err.Error() != tt.want {
				t.Errorf("got %s and error %v, want error %q", describe(f), err, tt.want)
			}
		})
	}
}

func TestDecodeBinaryCutAnywhere(t *testing.T) {
	whole := binaryPush("12", "345", "room:1", "msg", "data")
	names := len(whole) - len("data")
	for n := range whole {
		// A copy, so that reading behind the end can't go unnoticed.
		f, err := wire.DecodeBinary(bytes.Clone(whole[:n]))
		switch {
		case n < names && err == nil:
			t.Errorf("cut to %d bytes: got %s, want an error", n, describe(f))
		case n >= names && (err != nil || string(f.Binary) != string(whole[names:n])):
			t.Errorf("cut to %d bytes: got %s and error %v, want the data %q", n, describe(f), err, whole[names:n])
		}
	}
}
