package wire_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/go-chime/chime/internal/wire"
)

// benchPayload has 128 bytes, as in the speed budget.
var benchPayload = `{"name":"Ada","id":"c0ffee01","message":"` + strings.Repeat("hello all ", 9)[:85] + `"}`

func BenchmarkDecode(b *testing.B) {
	if len(benchPayload) != 128 {
		b.Fatalf("payload has %d bytes, want 128", len(benchPayload))
	}
	for _, bm := range []struct{ name, text string }{
		{"128B", `["1","17","chat_room:lobby","message_new",` + benchPayload + `]`},
		{"heartbeat", `[null,"7","phoenix","heartbeat",{}]`},
		{"escapes", `["1","17","chat_room:caf\u00e9","message_new",{"message":"` + strings.Repeat(`\"\u00e9\n`, 12) + `"}]`},
		{"numbers", `["1","17","doc:7","moved",{"points":[` + strings.Repeat("12.5,-3.25,", 100) + `0]}]`},
		{"32KiB", `["1","17","doc:7","saved",{"text":"` + strings.Repeat("hello all ", 3200) + `"}]`},
	} {
		b.Run(bm.name, func(b *testing.B) {
			data := []byte(bm.text)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := wire.Decode(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// pushes are the two kinds of payload.
var pushes = map[string]func(topic, event string, payload []byte, offset uint64) *wire.Message{
	"json": wire.NewPush, "binary": wire.NewBinaryPush,
}

// BenchmarkEncodeOnce broadcasts to members over all transports: a form is made
// at its first use, so the allocations don't grow with the members.
func BenchmarkEncodeOnce(b *testing.B) {
	for _, members := range []int{1, 10, 1000} {
		b.Run(fmt.Sprintf("members=%d", members), func(b *testing.B) {
			payload := []byte(benchPayload)
			buf := make([]byte, 0, 4<<10)
			b.ReportAllocs()
			for b.Loop() {
				m := wire.NewPush("chat_room:lobby", "message_new", payload, 42)
				for range members {
					buf = m.AppendWebSocket(buf[:0], false, "")
					buf = m.AppendWebSocket(buf, true, "")
					buf = m.AppendEvent(buf)
				}
			}
		})
	}
}

func TestABroadcastAllocatesTheSameForOneMemberAndForMany(t *testing.T) {
	payload := []byte(benchPayload)
	buf := make([]byte, 0, 4<<10)
	allocations := func(members int, push func(topic, event string, payload []byte, offset uint64) *wire.Message) float64 {
		return testing.AllocsPerRun(100, func() {
			m := push("chat_room:lobby", "message_new", payload, 42)
			for range members {
				buf = m.AppendWebSocket(buf[:0], false, "")
				buf = m.AppendWebSocket(buf, true, "")
				buf = m.AppendWebSocket(buf, false, "jr")
				buf = m.AppendEvent(buf)
				buf = m.AppendQuoted(buf, "")
				buf = m.AppendQuoted(buf, "jr")
				buf = m.AppendV1Quoted(buf)
			}
		})
	}
	for name, push := range pushes {
		one, many := allocations(1, push), allocations(1000, push)
		if !raceDetector && (one != many || one > 30) { // the message, two for each of four forms, and seven for each of three in strings; the detector allocates, and .ci/run counts without it
			t.Errorf("%s: got %v allocations for 1 member and %v for 1,000, want the same, at most 30", name, one, many)
		}
	}
}

// BenchmarkAppendForms is what one member of a topic costs once the forms are made.
func BenchmarkAppendForms(b *testing.B) {
	m := wire.NewPush("chat_room:lobby", "message_new", []byte(benchPayload), 42)
	bytes := wire.NewBinaryPush("chat_room:lobby", "message_new", []byte(benchPayload), 42)
	for _, bm := range []struct {
		name string
		form func([]byte) []byte
	}{
		{"websocket", func(buf []byte) []byte { return m.AppendWebSocket(buf, false, "") }},
		{"websocket-chime", func(buf []byte) []byte { return m.AppendWebSocket(buf, true, "") }},
		{"websocket-asked", func(buf []byte) []byte { return m.AppendWebSocket(buf, false, "1") }},
		{"websocket-asked-binary", func(buf []byte) []byte { return bytes.AppendWebSocket(buf, false, "1") }},
		{"stream", m.AppendEvent},
		{"longpoll", func(buf []byte) []byte { return m.AppendQuoted(buf, "") }},
		{"longpoll-asked", func(buf []byte) []byte { return m.AppendQuoted(buf, "1") }},
	} {
		b.Run(bm.name, func(b *testing.B) {
			buf := make([]byte, 0, 4<<10)
			b.ReportAllocs()
			for b.Loop() {
				buf = bm.form(buf[:0])
			}
		})
	}
}
