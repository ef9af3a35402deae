package server

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-chime/chime/internal/wire"
)

func get(query string, header ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/sse", nil)
	r.URL.RawQuery = query
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	return r
}

func TestWhatAURLJoins(t *testing.T) {
	many := "join=t" + strings.Repeat("&join=t", 16)
	for _, test := range []struct {
		query, lastEventID string
		topics             string // "" is an error
		payloads           string
	}{
		{query: "join=room:1", topics: "room:1", payloads: `{}`},
		{query: "join=room:1&name=Ada&x=1&x=2", topics: "room:1", payloads: `{"name":"Ada","x":"1"}`},
		{query: "join=a&join=b", topics: "a b", payloads: `{} {}`},
		{query: "join=a&last=3", topics: "a", payloads: `{"@last":3}`},
		{query: "join=a&last=0", topics: "a", payloads: `{"@last":0}`},
		{query: "join=a&@since=x&@x=1", topics: "a", payloads: `{}`},
		{query: "join=a&since=e1:7", topics: "a", payloads: `{"@since":{"epoch":"e1","offset":7}}`},
		{query: "join=a&join=b&since=e1:7,9", topics: "a b", payloads: `{"@since":{"epoch":"e1","offset":7}} {"@since":{"epoch":"e1","offset":9}}`},
		{query: "join=a&join=b&since=e1:7", topics: "a b", payloads: `{"@since":{"epoch":"e1","offset":7}} {}`},
		{query: "join=a&join=b&since=e1:,9", topics: "a b", payloads: `{} {"@since":{"epoch":"e1","offset":9}}`},
		{query: "join=a&since=e1:7", lastEventID: "e1:8", topics: "a", payloads: `{"@since":{"epoch":"e1","offset":8}}`},
		{query: "join=a", lastEventID: "17", topics: "a", payloads: `{"@since":{"epoch":"unknown","offset":0}}`},
		{query: ""},
		{query: "name=Ada"},
		{query: "join=a&join=a"},
		{query: many},
		{query: "join=a&last=-1"},
		{query: "join=a&last=many"},
		{query: "join=%zz"},
		{query: "join=a&x=" + strings.Repeat("<", 992), topics: "a", payloads: `{"x":"` + strings.Repeat("<", 992) + `"}`},
		{query: "join=a&x=" + strings.Repeat("<", 993)},
		{query: "join=a&since=" + strings.Repeat("e", 1000) + ":1"},
	} {
		r := get(test.query)
		if test.lastEventID != "" {
			r.Header.Set("Last-Event-ID", test.lastEventID)
		}
		frames, _, err := bareJoins(r, 1000)
		if test.topics == "" {
			if err == nil {
				t.Errorf("%.40s: got %d joins, want an error", test.query, len(frames))
			}
			continue
		}
		var topics, payloads []string
		for i, f := range frames {
			topics, payloads = append(topics, f.Topic), append(payloads, string(f.Payload))
			if ref := strconv.Itoa(i + 1); f.Event != wire.EventJoin || f.JoinRef.String() != ref || f.Ref.String() != ref {
				t.Errorf("%s: got %+v, want a join with the refs %s", test.query, f, ref)
			}
		}
		if err != nil || strings.Join(topics, " ") != test.topics || strings.Join(payloads, " ") != test.payloads {
			t.Errorf("%s: got %q %q and error %v, want %q %q", test.query, topics, payloads, err, test.topics, test.payloads)
		}
	}
}

func TestPositionOfTopicsInAnID(t *testing.T) {
	type position struct {
		epoch  string
		offset uint64
		ok     bool
	}
	unknown, none := position{"unknown", 0, true}, position{}
	for _, test := range []struct {
		id   string
		want []position // of the first three topics
	}{
		{"", []position{none, none, none}},
		{"e1:1,2,3", []position{{"e1", 1, true}, {"e1", 2, true}, {"e1", 3, true}}},
		{"e1:1,,3", []position{{"e1", 1, true}, none, {"e1", 3, true}}},
		{"e1:,,", []position{none, none, none}},
		{"e1:", []position{none, none, none}},
		{"e1:0", []position{{"e1", 0, true}, none, none}},
		{"e1:18446744073709551615", []position{{"e1", 1<<64 - 1, true}, none, none}},
		{"e1:18446744073709551616,2", []position{unknown, {"e1", 2, true}, none}},
		{"e1:-1,x, 3", []position{unknown, unknown, unknown}},
		{"e1:1:2", []position{unknown, none, none}},
		{":1,2,3", []position{unknown, unknown, unknown}},
		{"41", []position{unknown, unknown, unknown}},
		{"urn:uuid:5d2c", []position{unknown, none, none}},
	} {
		for i, want := range test.want {
			epoch, offset, ok := positionsOf(test.id).of(i)
			if got := (position{epoch, offset, ok}); got != want {
				t.Errorf("topic %d of %q: got %+v, want %+v", i, test.id, got, want)
			}
		}
	}
}

func FuzzPositionsOf(f *testing.F) {
	for _, id := range []string{"", "e1:1,2,3", ":", "e1:,", "e1:18446744073709551616", "\x00:1", "e\n1:2", "é:9"} {
		f.Add(id, 1)
	}
	f.Fuzz(func(t *testing.T, id string, i int) {
		i &= 15
		epoch, offset, ok := positionsOf(id).of(i)
		switch {
		case !ok && (epoch != "" || offset != 0):
			t.Fatalf("no position, but %q %d", epoch, offset)
		case ok && epoch == "":
			t.Fatal("a position without an epoch")
		case ok && epoch == "unknown":
			return
		case ok:
			// What is read is what stands there.
			offsets := strings.Split(strings.TrimPrefix(id, epoch+":"), ",")
			if n, err := strconv.ParseUint(offsets[i], 10, 64); err != nil || n != offset {
				t.Fatalf("got offset %d, want %q", offset, offsets[i])
			}
		}
		// Whatever the client sent becomes a join, and no id can say anything
		// but positions: an id line that is not one line forges events.
		frames, b, err := bareJoins(get("join=a&join=b&since="+url.QueryEscape(id)), 1<<20)
		if err != nil || len(frames) != 2 {
			t.Fatalf("got %d joins and error %v, want 2", len(frames), err)
		}
		start := reply("a", "real", 9, nil)
		b.appendID(nil, start)
		line := string(b.appendID(nil, wire.NewPush("a", "e", []byte("{}"), 10)))
		if !strings.HasPrefix(line, "id: real:10,") || strings.Count(line, "\n") != 1 || strings.ContainsAny(line, "\r\x00") {
			t.Fatalf("got %q, want an id line", line)
		}
	})
}

// reply answers a join of a topic with history.
func reply(topic, epoch string, start uint64, recovered *bool) *wire.Message {
	h := &wire.History{Epoch: epoch, Offset: start, Recovered: recovered}
	return wire.NewJoinReply(wire.Ref{}, wire.Ref{}, topic, []byte("{}"), h, recovered != nil)
}

func TestIDsOfAStreamWithoutHeaders(t *testing.T) {
	yes, no := true, false
	said := func(topic string, offset uint64) *wire.Message {
		return wire.NewPush(topic, "said", []byte("{}"), offset)
	}
	type step struct {
		m    *wire.Message
		want string // "" is no id line
	}
	for _, test := range []struct {
		name, query string
		steps       []step
	}{
		{"what is not retained has none", "join=a", []step{
			{reply("a", "e1", 5, nil), "e1:5"},
			{said("a", 0), ""},
			{wire.NewHeartbeat(0, 0), ""},
			{said("a", 6), "e1:6"},
		}},
		{"a client that comes back before the first message has a position", "join=a", []step{
			{reply("a", "e1", 0, nil), "e1:0"},
		}},
		{"a topic counts from the reply to its join", "join=a&join=b", []step{
			{reply("a", "e1", 3, nil), "e1:3,"},
			{reply("b", "e1", 7, nil), "e1:3,7"},
			{said("b", 8), "e1:3,8"},
			{said("a", 4), "e1:4,8"},
			{said("b", 9), "e1:4,9"},
			{said("a", 5), "e1:5,9"},
		}},
		{"a client that comes back keeps every position", "join=a&join=b&since=e1:5,7", []step{
			{reply("b", "e1", 7, &yes), "e1:5,7"},
			{said("b", 8), "e1:5,8"}, // a is not joined yet
			{reply("a", "e1", 5, &yes), "e1:5,8"},
			{said("b", 9), "e1:5,9"}, // a's replay has not begun
			{said("a", 6), "e1:6,9"},
		}},
		{"a replay that begins anew has the position of its reply", "join=a&join=b&since=e1:5,7", []step{
			{reply("a", "e1", 40, &no), "e1:40,7"},
			{reply("b", "e1", 7, &yes), "e1:40,7"},
			{said("b", 91), "e1:40,91"},
			{said("a", 41), "e1:41,91"},
		}},
		{"another epoch makes all of the old one worthless", "join=a&join=b&since=e1:5,7", []step{
			{reply("a", "e2", 3, &no), "e2:3,"},
			{said("a", 4), "e2:4,"},
			{reply("b", "e2", 1, &no), "e2:4,1"},
			{said("a", 5), "e2:5,1"},
			{said("b", 2), "e2:5,2"},
		}},
		{"what EventSource had of another server is worthless", "join=a&since=17", []step{
			{reply("a", "e1", 2, &no), "e1:2"},
			{said("a", 3), "e1:3"},
		}},
		{"a topic without history has no position", "join=a&join=b", []step{
			{wire.NewReply(wire.Ref{}, wire.Ref{}, "a", "ok", []byte("{}")), ""},
			{reply("b", "e1", 3, nil), "e1:,3"},
			{said("b", 4), "e1:,4"},
		}},
		{"a topic that was not joined is nobody's", "join=a", []step{
			{reply("a", "e1", 3, nil), "e1:3"},
			{said("b", 4), ""},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, b, err := bareJoins(get(test.query), 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			for i, step := range test.steps {
				want := ""
				if step.want != "" {
					want = "id: " + step.want + "\n"
				}
				if got := string(b.appendID(nil, step.m)); got != want {
					t.Fatalf("message %d: got %q, want %q", i+1, got, want)
				}
				if step.want == "" {
					continue
				}
				// A client that comes back with it has these positions again.
				_, again, err := bareJoins(get(test.query, "Last-Event-ID: "+step.want), 1<<20)
				if err != nil {
					t.Fatal(err)
				}
				for j, p := range again.topics {
					if !reflect.DeepEqual(p, b.topics[j]) && (p.known || b.topics[j].known) {
						t.Fatalf("message %d: read again as %+v, want %+v", i+1, p, b.topics[j])
					}
				}
			}
		})
	}
}

func TestPayloadOfAJoinIsJSON(t *testing.T) {
	frames, _, err := bareJoins(get("join=a&n=%22%0a%00%ff&since=%22%0a:5"), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(frames[0].Payload) || !utf8.Valid(frames[0].Payload) || strings.ContainsAny(string(frames[0].Payload), "\r\n\x00") {
		t.Errorf("got %q, want JSON in one line", frames[0].Payload)
	}
}
