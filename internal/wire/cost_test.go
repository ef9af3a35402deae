package wire_test

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/go-chime/chime/internal/wire"
)

// What is decoded is bounded in bytes. So that what is not meant well costs no more
// than what is, each of these bodies is of the size of the honest one.

const (
	bodyBytes  = 256 << 10
	frameBytes = 64 << 10
	bodyFrames = 100
)

// filled begins with a text, ends with another, and has as many copies of a part in
// between as go into the bytes.
func filled(size int, begin, part, end string) []byte {
	return []byte(begin + strings.TrimSuffix(strings.Repeat(part, (size-len(begin)-len(end))/len(part)), ",") + end)
}

// honestBatch is of as many frames as a POST may have, and as many bytes.
func honestBatch() []byte {
	frame := fmt.Sprintf(`["1","17","chat_room:lobby","message_new",{"message":"%s"}],`, strings.Repeat("hello all ", 255))
	return filled(bodyBytes, `{"first":1,"received":0,"frames":[`, frame, `]}`)
}

// hostileBatches are what costs most: much that is small, deep, escaped, or to be
// written anew.
func hostileBatches() map[string][]byte {
	const begin, end = `{"first":1,"received":0,"frames":[`, `]}`
	frame := func(payload []byte) []byte {
		return append(append([]byte(`["1","2","t","e",`), payload...), `],`...)
	}
	four := func(payload []byte) []byte { return filled(bodyBytes, begin, string(frame(payload)), end) }
	return map[string][]byte{
		"zeros":           filled(bodyBytes, begin, "0,", end),
		"empty frames":    filled(bodyBytes, begin, "[],", end),
		"small frames":    filled(bodyBytes, begin, `["","","t","e",0],`, end),
		"keys":            filled(bodyBytes, `{"first":1,`, `"a":0,`, `}`),
		"escaped keys":    filled(bodyBytes, `{"first":1,`, `"\u0061":0,`, `}`),
		"firsts":          filled(bodyBytes, `{`, `"first":1,`, `}`),
		"a long number":   filled(bodyBytes, `{"first":`, `1`, `}`),
		"brackets":        []byte(strings.Repeat("[", bodyBytes)),
		"deep frames":     filled(bodyBytes, begin, nested(9_000)+",", end),
		"bytes":           four(filled(frameBytes-20, `{"@binary":"`, "AAAA", `"}`)),
		"almost bytes":    four(filled(frameBytes-20, `{"@binary":"",`, `"a":0,`, `}`)),
		"escaped bytes":   four(filled(frameBytes-20, `{"\u0040binary":"`, `\u0041\u0041\u0041\u0041`, `"}`)),
		"lines":           four(filled(frameBytes-20, `[`, "0,\n", `0]`)),
		"keys of payload": four(filled(frameBytes-20, `{`, `"a":0,`, `}`)),
		"escaped topics":  filled(bodyBytes, begin, `["1","2","`+strings.Repeat(`\u00e9`, 10_000)+`","e",0],`, end),
	}
}

func TestNoBatchCostsMuchMoreMemoryThanAnHonestOne(t *testing.T) {
	cost := func(body []byte) (bytes, allocations uint64) {
		var before, after runtime.MemStats
		const rounds = 5
		runtime.ReadMemStats(&before)
		for range rounds {
			_, _ = wire.DecodeBatch(body, bodyFrames, frameBytes)
		}
		runtime.ReadMemStats(&after)
		return (after.TotalAlloc - before.TotalAlloc) / rounds, (after.Mallocs - before.Mallocs) / rounds
	}
	if _, err := wire.DecodeBatch(honestBatch(), bodyFrames, frameBytes); err != nil {
		t.Fatal(err)
	}
	bytes, allocations := cost(honestBatch())
	for name, body := range hostileBatches() {
		if b, n := cost(body); b > 3*bytes || n > 3*allocations {
			t.Errorf("%s: %d bytes in %d allocations, want at most three times %d in %d", name, b, n, bytes, allocations)
		}
	}
}

func TestNoFrameCostsMuchMoreMemoryThanItsSize(t *testing.T) {
	for name, c := range map[string]struct {
		decode func([]byte) (wire.Frame, error)
		data   []byte
	}{
		"V2, keys":    {wire.Decode, filled(frameBytes, `["1","2","t","e",{`, `"a":0,`, `}]`)},
		"V2, bytes":   {wire.Decode, filled(frameBytes, `["1","2","t","e",{"@binary":"",`, `"a":0,`, `}]`)},
		"V1, keys":    {wire.DecodeV1, filled(frameBytes, `{`, `"a":0,`, `}`)},
		"V1, bytes":   {wire.DecodeV1, filled(frameBytes, `{"topic":"t","event":"e","ref":"1","payload":{"@binary":"",`, `"a":0,`, `}}`)},
		"Amber, keys": {wire.DecodeAmber, filled(frameBytes, `{"event":"join","topic":"t",`, `"a":0,`, `}`)},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _ = c.decode(c.data)
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 3*frameBytes {
			t.Errorf("%s: %d bytes for %d, want at most three times as many", name, got, len(c.data))
		}
	}
}

// BenchmarkDecodeBatch reports what a hostile batch costs in times of an honest one of
// its size, measured before it in the same run.
func BenchmarkDecodeBatch(b *testing.B) {
	decode := func(b *testing.B, body []byte) float64 {
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			_, _ = wire.DecodeBatch(body, bodyFrames, frameBytes)
		}
		return float64(b.Elapsed()) / float64(b.N)
	}
	var honest float64
	b.Run("honest", func(b *testing.B) { honest = decode(b, honestBatch()) })
	bodies := hostileBatches()
	for _, name := range slices.Sorted(maps.Keys(bodies)) {
		b.Run(name, func(b *testing.B) {
			if cost := decode(b, bodies[name]); honest > 0 {
				b.ReportMetric(cost/honest, "x-honest")
			}
		})
	}
}
