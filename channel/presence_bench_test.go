package channel

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/fanout"
	"github.com/go-chime/chime/internal/wire"
)

// BenchmarkPresence is what it costs to show that somebody has joined, in a topic of so
// many with metas of 100 bytes: alone, and as one of a hundred between two diffs. The diff
// is queued for all members, the state for those who have joined, and both are made into a
// frame for WebSockets, once. Time between diffs, and what it takes to write to each
// connection, is not in it. B/join is what one joiner is sent.
func BenchmarkPresence(b *testing.B) {
	for _, members := range []int{10, 1000, 10_000} {
		for _, come := range []int{1, 100} {
			b.Run(fmt.Sprintf("%d/%d", members, come), func(b *testing.B) { showJoins(b, members, come) })
		}
	}
}

func showJoins(b *testing.B, members, come int) {
	h := NewHub(Config{Log: slog.New(slog.DiscardHandler)})
	meta, err := json.Marshal(text) // of 128 bytes
	if err != nil {
		b.Fatal(err)
	}
	meta = append(meta[:98:98], `"}`...)
	h.Channel("{topic}", &silent{}, Presence(func(s *Socket) (string, any) { return "user:" + s.ID(), json.RawMessage(meta) }))
	got := new(atomic.Int64)
	for i := range members {
		r := h.Accept(&sink{id: fmt.Sprint(i), got: got})
		r.Receive(wire.Frame{JoinRef: wire.RefOf("1"), Ref: wire.RefOf("1"), Topic: "a", Event: wire.EventJoin, Payload: []byte("{}")})
	}
	if err := h.Wait(b.Context()); err != nil { // until all are told
		b.Fatal(err)
	}
	p := h.topics.find("a")
	var came []*fanout.Member
	p.Members(func(o fanout.Owner) {
		if len(came) < come {
			came = append(came, &(*Socket)(o.(*owner)).member)
		}
	})
	for len(came) < come {
		came = append(came, came[0])
	}
	size := p.roster.State().PayloadSize()
	n, frame := 0, []byte(nil)
	joins := make([]broker.Present, come)
	b.ReportAllocs()
	for b.Loop() {
		for i := range joins {
			n++
			ref := fmt.Sprint("bench-", n)
			joins[i] = broker.Present{Key: "user:" + ref, Ref: ref, Meta: meta}
		}
		p.Show(func() *wire.Message {
			m := p.roster.Apply(broker.Change{Joins: joins})
			frame = m.AppendWebSocket(frame[:0], true, "")
			return m
		})
		p.Reveal(came)
		frame = p.roster.State().AppendWebSocket(frame[:0], true, "")
		b.StopTimer()
		p.roster.Apply(broker.Change{Leaves: joins}) // so that the state stays as it is
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*come), "ns/join")
	b.ReportMetric(float64(size), "B/join")
}
