package presence

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestWhatCannotBeTold(t *testing.T) {
	for _, key := range []string{"", strings.Repeat("k", 10_000), "a\xff", "a\nb"} {
		if err := CheckKey(key); err == nil || len(err.Error()) > 500 || !strings.Contains(err.Error(), fmt.Sprint(len(key), " bytes")) {
			t.Errorf("key %.20q: got %v, want an error that says how long it is", key, err)
		}
	}
	for _, key := range []string{"__proto__", "constructor", strings.Repeat("k", 255)} {
		if err := CheckKey(key); err != nil {
			t.Errorf("key %.20q: %v", key, err)
		}
	}
	for _, c := range []struct {
		meta any
		want string
	}{
		{make(chan int), "unsupported type"},
		{[]int{1}, "not a JSON object"},
		{"ann", "not a JSON object"},
		{json.RawMessage(`{"a":`), "not valid JSON"},
		{json.RawMessage("{\"a\":\"\xff\"}"), "UTF-8"},
		{map[string]string{"a": strings.Repeat("x", MaxMeta)}, "want at most 4096"},
		{map[string]int{"phx_ref": 1}, "phx_ref"},
		{map[string]int{"phx_ref_prev": 1}, "phx_ref_prev"},
		{json.RawMessage(`{"phx\u005fref_prev":1}`), "phx_ref_prev"}, // the payload of a client, perhaps
	} {
		if _, err := Encode(c.meta); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.40v: got %v, want %q", c.meta, err, c.want)
		}
	}
	for _, c := range []struct {
		meta any
		want string
	}{
		{nil, `{"phx_ref":"r"}`},
		{json.RawMessage(" {\n } \n"), `{"phx_ref":"r"}`},
		{json.RawMessage(`{"a":"phx_ref"}`), `{"a":"phx_ref","phx_ref":"r"}`},
		{struct{ A int }{1}, `{"A":1,"phx_ref":"r"}`},
	} {
		meta, err := Encode(c.meta)
		if err != nil {
			t.Errorf("%v: %v", c.meta, err)
		} else if got := string(withRefs(meta, "r", "")); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

func TestAViewIsStrict(t *testing.T) {
	const state, diff = EventState, EventDiff
	for _, c := range []struct {
		name   string
		events [][2]string
	}{
		{"a diff before the state", [][2]string{{diff, `{"joins":{},"leaves":{}}`}}},
		{"who was not there leaves", [][2]string{{state, `{}`}, {diff, `{"joins":{},"leaves":{"a":{"metas":[{"phx_ref":"1"}]}}}`}}},
		{"no object", [][2]string{{state, `[]`}}},
	} {
		v := &View{}
		var err error
		for _, e := range c.events {
			_, err = v.Take(e[0], []byte(e[1]))
		}
		if err == nil {
			t.Errorf("%s: got no error", c.name)
		}
	}
	v := &View{}
	if took, err := v.Take("news", nil); took || err != nil {
		t.Error("another event is taken for one that tells who is present")
	}
	for _, e := range [][2]string{{state, `{"b":{"metas":[{"phx_ref":"0"}]}}`}, {state, `{"a":{"metas":[{"phx_ref":"1"}]}}`}, {diff, `{"joins":{"a":{"metas":[{"phx_ref":"2"}]}},"leaves":{"a":{"metas":[{"phx_ref":"1"}]}}}`}} {
		if _, err := v.Take(e[0], []byte(e[1])); err != nil {
			t.Error(err)
		}
	}
	if keys, _ := v.Keys(); !reflect.DeepEqual(keys, map[string][]json.RawMessage{"a": {json.RawMessage(`{"phx_ref":"2"}`)}}) {
		t.Errorf("got %s", keys)
	}
}
