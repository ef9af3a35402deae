package hostile_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/r3labs/sse/v2"

	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/internal/raw"
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
	`{"@since":{"epoch":"x","offset":1},"@history":{"offset":9}}`,
}

// TestNoPayloadForgesAnEvent reads the stream by the letter of the standard and
// with a reader of other people's making.
func TestNoPayloadForgesAnEvent(t *testing.T) {
	s := raw.NewSite(t)
	ws := s.Phoenix(t).Join("book:1", "attacker")
	es := s.Bare(t, "join=book:1")
	if got := es.Next().Data; len(got) == 0 {
		t.Fatal("got no reply to the join")
	}
	foreign := foreignReader(t, s, "join=book:1")
	for _, payload := range forgeries {
		ws.Text(`["1",null,"book:1","say",` + payload + `]`)
		ws.Want(`[null,null,"book:1","say",` + payload + `]`)
	}
	ws.Text(`["1",null,"book:1","say",{"the":"end"}]`)
	for i, payload := range append(forgeries, `{"the":"end"}`) {
		e := es.Next()
		id := parsedFrame(t, e.Data)
		if want := `[null,` + id + `,"book:1","say",` + payload + `]`; e.Data != want {
			t.Errorf("payload %d: got  %s\nwant %s", i, e.Data, want)
		}
		if got := <-foreign; got != e.Data {
			t.Errorf("payload %d: r3labs/sse read %s, want %s", i, got, e.Data)
		}
	}
}

// parsedFrame checks that a frame has its five parts and returns the ref.
func parsedFrame(t *testing.T, text string) string {
	t.Helper()
	var f []json.RawMessage
	if err := json.Unmarshal([]byte(text), &f); err != nil || len(f) != 5 {
		t.Fatalf("got %s, want a frame: %v", raw.Clip(text), err)
	}
	return string(f[1])
}

// foreignReader returns the data of all events that r3labs/sse reads after the
// reply to the join.
func foreignReader(t *testing.T, s *raw.Site, query string) <-chan string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	events, joined, done := make(chan string, 100), make(chan struct{}), make(chan struct{})
	client := sse.NewClient("http://" + s.Host + "/socket/sse?" + query)
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
	case <-time.After(s.Wait):
		t.Fatal("r3labs/sse read no event")
	}
	return events
}

// TestNothingTheApplicationSaysForgesAnEvent: raw JSON of the application, its
// refusals and its reasons are no cleaner than what clients send.
func TestNothingTheApplicationSaysForgesAnEvent(t *testing.T) {
	const evil = "x\r\n\r\ndata: forged\n\nid: 9\r\r"
	s := raw.NewSite(t)
	w := s.Witness(t)
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
			if err := s.Live.Broadcast(ctx, "hall:1", "say", good.payload); err != nil {
				t.Fatal(err)
			}
			w.Hears(`[null,null,"hall:1","say",` + good.want + `]`)
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
			if err := s.Live.Broadcast(ctx, "hall:1", "say", bad); err == nil {
				t.Error("Broadcast: got no error")
			}
			w.IsWell()
		})
	}
	t.Run("an event", func(t *testing.T) {
		for _, name := range []string{"", "a\nb", "a\x00", "phx_reply", "a\u2028", string(make([]byte, 10_000))} {
			if err := s.Live.Broadcast(ctx, "hall:1", name, nil); err == nil {
				t.Errorf("Broadcast of event %q: got no error", raw.Clip(name))
			}
		}
		w.IsWell()
	})
	t.Run("a topic", func(t *testing.T) {
		for _, name := range []string{"", "nowhere", "hall:", "chime", "phoenix"} {
			if err := s.Live.Broadcast(ctx, name, "say", nil); !errors.Is(err, channel.ErrNoChannel) {
				t.Errorf("Broadcast to %q: got %v, want ErrNoChannel", raw.Clip(name), err)
			}
		}
		w.IsWell()
	})
	t.Run("a reason to disconnect", func(t *testing.T) {
		es, secret := s.Half(t, "Authorization: Bearer mallory")
		s.Post(t, secret, `{"first":1,"frames":[["1","1","hall:1","phx_join",{"as":"attacker"}],["1","2","hall:1","kick me",{"because":"x\n\ndata: forged"}]]}`,
			"Authorization: Bearer mallory").WantApplied(t, 2)
		es.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
		e := es.Next()
		if parsedFrame(t, e.Data) == `"2"` { // the reply may or may not be out before the end
			e = es.Next()
		}
		if want := `[null,null,"chime","closed",{"code":1001,"reason":"x\n\ndata: forged"}]`; e.Data != want {
			t.Errorf("got %s, want %s", e.Data, want)
		}
		s.Hall.WantLeft(t, "hall:1", "attacker", "kicked")
		w.IsWell()
	})
}
