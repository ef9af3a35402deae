package nats_test

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/go-chime/chime/broker/nats"
	"github.com/go-chime/chime/store"
)

// BenchmarkPublish has 1 or 64 publish at one time, each in its own topic.
func BenchmarkPublish(b *testing.B) {
	for _, publishers := range []int{1, 64} {
		b.Run(fmt.Sprint("publishers=", publishers), func(b *testing.B) {
			broker := open(b, nats.Options{Server: serve(b), Prefix: prefix()})
			broker.Start(ignored{})
			var next atomic.Int64
			b.SetParallelism(max(1, publishers/runtime.GOMAXPROCS(0)))
			b.ResetTimer()
			work := func(again func() bool) {
				topic := fmt.Sprint("topic:", next.Add(1))
				for again() {
					if _, err := broker.Publish(b.Context(), said(topic, "hello, this is a message of a usual size"), &store.Retention{Keep: 1000}); err != nil {
						b.Fatal(err)
					}
				}
			}
			if publishers == 1 {
				work(b.Loop)
				return
			}
			b.RunParallel(func(pb *testing.PB) { work(pb.Next) })
		})
	}
}

// BenchmarkNewest reads the newest 50 of a topic, with and without a word of where to begin.
func BenchmarkNewest(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		for _, known := range []bool{true, false} {
			b.Run(fmt.Sprintf("of=%d/begin=%t", n, known), func(b *testing.B) {
				server, p := serve(b), prefix()
				broker := open(b, nats.Options{Server: server, Prefix: p})
				broker.Start(ignored{})
				fill(b, server, p, n, known)
				for b.Loop() {
					page, err := broker.History().Read(b.Context(), "a", store.Range{Newest: true, Limit: 50})
					if err != nil || len(page.Messages) != 50 {
						b.Fatalf("got %d messages, %v", len(page.Messages), err)
					}
				}
			})
		}
	}
}

// fill stores n messages of one topic, and one of another behind each.
func fill(b *testing.B, s client.InProcessConnProvider, prefix string, n int, known bool) {
	b.Helper()
	conn, err := client.Connect("", client.InProcessServer(s))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(1000))
	if err != nil {
		b.Fatal(err)
	}
	stream, err := js.Stream(b.Context(), prefix+"-0")
	if err != nil {
		b.Fatal(err)
	}
	subject := stream.CachedInfo().Config.Subjects[0]
	subject = subject[:len(subject)-1]
	for i := range n {
		h := client.Header{"Chime-Event": {"said"}}
		if known && i >= 100 {
			h["Chime-Back"] = []string{fmt.Sprint(2*(i-100) + 1)}
		}
		for _, token := range []string{"tYQ", "tYg"} { // a, b
			if _, err := js.PublishMsgAsync(&client.Msg{Subject: subject + token, Header: h, Data: []byte("hello, this is a message of a usual size")}); err != nil {
				b.Fatal(err)
			}
		}
	}
	<-js.PublishAsyncComplete()
}
