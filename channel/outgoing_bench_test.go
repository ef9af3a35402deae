package channel

import (
	"context"
	"fmt"
	"testing"
)

// BenchmarkOutgoing is a broadcast until each member has the bytes that it is sent on a
// WebSocket and on a stream, where an Outgoing is asked about it; none is without one.
// ns/subscriber is what each of them costs.
func BenchmarkOutgoing(b *testing.B) {
	for _, kind := range []struct {
		name string
		f    OutgoingFunc
	}{
		{"none", nil},
		{"unchanged", func(_ context.Context, _ *Socket, m Message) (any, bool) { return m.Payload, true }},
		{"rewritten", func(_ context.Context, s *Socket, _ Message) (any, bool) {
			return map[string]string{"to": s.ID(), "text": text["text"]}, true
		}},
		{"withheld", func(context.Context, *Socket, Message) (any, bool) { return nil, false }},
	} {
		for _, members := range []int{1, 1000, 10_000} {
			b.Run(fmt.Sprintf("%s/%d", kind.name, members), func(b *testing.B) {
				var options []Option
				if kind.f != nil {
					options = append(options, Outgoing(kind.f, "message_new"))
				}
				h, _ := crowd(b, members, true, options...)
				b.ReportAllocs()
				for b.Loop() {
					tell(b, h)
					if err := h.Wait(b.Context()); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(members), "ns/subscriber")
			})
		}
	}
}
