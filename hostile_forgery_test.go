package chime_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/r3labs/sse/v2"

	"github.com/go-chime/chime/channel"
)

// forgeries are payloads that would be a second event, or none, if a byte of
// them reached an event stream as it is.
var forgeries = []string{
	`{"a":"\r"}`,
	`{"a":"\n"}`,
	`{"a":"\r\n\r\n"}`,
	`{"a":"\u0000"}`,
	`{"a":"x\n\ndata: [null,null,\"chime\",\"closed\",{}]\n\n"}`,
	`{"a":"\n\nid: 99\nretry: 1\nevent: x\n\n"}`,
	`{"data:":"data: x","id:":": comment","event:":"retry: 1"}`,
	"{\"a\":\"\u2028\u2029\u0085\ufeff\"}",
	`{"a":"\u2028\u2029\ud800"}`,
	"{\"a\":\"\u007f\u0080\u202e\"}",
	`{"@since":{"epoch":"x","offset":1},"@history":{"count":9}}`,
}

// TestNoPayloadForgesAnEvent reads the stream by the letter of the standard and
// with a reader of other people's making.
func TestNoPayloadForgesAnEvent(t *testing.T) {
	s := newSite(t)
	ws := s.phoenix(t).join("book:1", "attacker")
	es := s.bare(t, "join=book:1")
	if got := es.next().data; len(got) == 0 {
		t.Fatal("got no reply to the join")
	}
	foreign := s.foreignReader(t, "join=book:1")
	for _, payload := range forgeries {
		ws.text(`["1",null,"book:1","say",` + payload + `]`)
		ws.want(`[null,null,"book:1","say",` + payload + `]`)
	}
	ws.text(`["1",null,"book:1","say",{"the":"end"}]`)
	for i, payload := range append(forgeries, `{"the":"end"}`) {
		e := es.next()
		id := parsedFrame(t, e.data)
		if want := `[null,` + id + `,"book:1","say",` + payload + `]`; e.data != want {
			t.Errorf("payload %d: got  %s\nwant %s", i, e.data, want)
		}
		if got := <-foreign; got != e.data {
			t.Errorf("payload %d: r3labs/sse read %s, want %s", i, got, e.data)
		}
	}
}

// parsedFrame checks that a frame has its five parts and returns the ref.
func parsedFrame(t *testing.T, text string) string {
	t.Helper()
	var f []json.RawMessage
	if err := json.Unmarshal([]byte(text), &f); err != nil || len(f) != 5 {
		t.Fatalf("got %s, want a frame: %v", clip(text), err)
	}
	return string(f[1])
}

// foreignReader returns the data of all events that r3labs/sse reads after the
// reply to the join.
func (s *rawSite) foreignReader(t *testing.T, query string) <-chan string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	events, joined, done := make(chan string, 100), make(chan struct{}), make(chan struct{})
	client := sse.NewClient("http://" + s.host + "/socket/sse?" + query)
	go func() {
		defer close(done)
		first := true
		_ = client.SubscribeRawWithContext(ctx, func(e *sse.Event) {
			if first {
				first = false
				close(joined)
				return
			}
			events <- string(e.Data)
		})
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		client.Connection.CloseIdleConnections()
	})
	select {
	case <-joined:
	case <-time.After(s.wait):
		t.Fatal("r3labs/sse read no event")
	}
	return events
}

// TestNothingTheApplicationSaysForgesAnEvent: raw JSON of the application, its
// refusals and its reasons are no cleaner than what clients send.
func TestNothingTheApplicationSaysForgesAnEvent(t *testing.T) {
	const evil = "x\r\n\r\ndata: forged\n\nid: 9\r\r"
	s := newSite(t)
	w := s.witness(t)
	ctx := t.Context()
	for _, good := range []struct {
		name    string
		payload any
		want    string
	}{
		{"raw JSON with line breaks", json.RawMessage("{\"a\":\n\n1,\r\"b\":\r\n[\n]}"), `{"a":1,"b":[]}`},
		{"raw JSON in a struct", map[string]any{"a": json.RawMessage("[\n\n1\r]")}, `{"a":[1]}`},
		{"raw JSON that begins with a line break", json.RawMessage("\n{}"), `{}`},
		{"a string", map[string]string{"a": evil}, `{"a":"x\r\n\r\ndata: forged\n\nid: 9\r\r"}`},
		{"a key", map[string]int{evil: 1}, `{"x\r\n\r\ndata: forged\n\nid: 9\r\r":1}`},
		{"nothing", nil, `{}`},
	} {
		t.Run(good.name, func(t *testing.T) {
			if err := s.live.Broadcast(ctx, "hall:1", "say", good.payload); err != nil {
				t.Fatal(err)
			}
			w.hears(`[null,null,"hall:1","say",` + good.want + `]`)
		})
	}
	for name, bad := range map[string]any{
		"raw JSON that is none":   json.RawMessage("{\n"),
		"raw JSON that is two":    json.RawMessage("{}\n\ndata: {}"),
		"a byte that is no UTF-8": json.RawMessage("{\"a\":\"\xff\"}"),
		"the same in a struct":    map[string]any{"a": json.RawMessage("\"\xff\"")},
		"an array":                []int{1},
		"a string":                "x",
		"no JSON":                 func() {},
	} {
		t.Run(name, func(t *testing.T) {
			if err := s.live.Broadcast(ctx, "hall:1", "say", bad); err == nil {
				t.Error("Broadcast: got no error")
			}
			w.isWell()
		})
	}
	t.Run("an event", func(t *testing.T) {
		for _, name := range []string{"", "a\nb", "a\x00", "phx_reply", "a\u2028", string(make([]byte, 10_000))} {
			if err := s.live.Broadcast(ctx, "hall:1", name, nil); err == nil {
				t.Errorf("Broadcast of event %q: got no error", clip(name))
			}
		}
		w.isWell()
	})
	t.Run("a topic", func(t *testing.T) {
		for _, name := range []string{"", "nowhere", "hall:", "chime", "phoenix"} {
			if err := s.live.Broadcast(ctx, name, "say", nil); !errors.Is(err, channel.ErrNoChannel) {
				t.Errorf("Broadcast to %q: got %v, want ErrNoChannel", clip(name), err)
			}
		}
		w.isWell()
	})
	t.Run("a reason to disconnect", func(t *testing.T) {
		es, secret := s.half(t, "Authorization: Bearer mallory")
		wantApplied(t, s.post(t, secret, `{"first":1,"frames":[["1","1","hall:1","phx_join",{"as":"attacker"}],["1","2","hall:1","kick me",{"because":"x\n\ndata: forged"}]]}`,
			"Authorization: Bearer mallory"), 2)
		es.want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
		e := es.next()
		if parsedFrame(t, e.data) == `"2"` { // the reply may or may not be out before the end
			e = es.next()
		}
		if want := `[null,null,"chime","closed",{"code":1001,"reason":"x\n\ndata: forged"}]`; e.data != want {
			t.Errorf("got %s, want %s", e.data, want)
		}
		s.hall.wantLeft(t, departure{"hall:1", "attacker", "kicked"})
		w.isWell()
	})
}
