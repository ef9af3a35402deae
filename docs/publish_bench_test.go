package docs_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore"
)

type listener struct {
	channel.AnyoneMayJoin
	channel.NothingOnLeave
}

func (listener) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	return nil, s.Rebroadcast(ctx, m)
}

// BenchmarkPublish is 64 publishers in one topic with 200 clients that read, over TCP
// in this process, as fast as it goes. An op is one message. It reports how long a
// publish takes: the median, the mean, and the 99th of a hundred in times of both; and
// how many more messages the luckiest of the publishers got through than the unluckiest.
func BenchmarkPublish(b *testing.B) {
	for _, kept := range []struct {
		name string
		open func(*testing.B) store.Store
		how  []channel.SendOption
	}{
		{"ephemeral", func(*testing.B) store.Store { return store.NewMemory() }, []channel.SendOption{channel.Ephemeral()}},
		{"memory", func(*testing.B) store.Store { return store.NewMemory() }, nil},
		{"file", openFile, nil},
	} {
		for _, size := range []int{128, 10_000} {
			b.Run(fmt.Sprintf("%s/%d", kept.name, size), func(b *testing.B) { publish(b, kept.open(b), size, kept.how) })
		}
	}
}

func openFile(b *testing.B) store.Store {
	s, err := boltstore.Open(filepath.Join(b.TempDir(), "chime.db"), boltstore.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s
}

func publish(b *testing.B, history store.Store, size int, how []channel.SendOption) {
	const publishers, clients = 64, 200
	live := chime.NewRouter(chime.WithAnonymous(), chime.WithStore(history))
	live.Channel("room:{id}", listener{}, channel.History{Keep: 1000})
	app := chi.NewRouter()
	app.Mount("/socket", live)
	srv := httptest.NewServer(app)
	defer srv.Close()
	defer func() { _ = live.Shutdown(context.Background()) }()
	var ended atomic.Int64
	for range clients {
		stream(b, srv.Listener.Addr().String(), &ended)
	}
	payload := map[string]string{"pad": string(slices.Repeat([]byte{'x'}, size))}
	var left atomic.Int64
	left.Store(int64(b.N))
	took := make([][]time.Duration, publishers)
	b.ResetTimer()
	var publishing sync.WaitGroup
	for i := range took {
		publishing.Go(func() {
			for left.Add(-1) >= 0 {
				begun := time.Now()
				if err := live.Broadcast(b.Context(), "room:1", "said", payload, how...); err != nil {
					b.Error(err)
					return
				}
				took[i] = append(took[i], time.Since(begun))
			}
		})
	}
	publishing.Wait()
	b.StopTimer()
	if n := ended.Load(); n > 0 {
		b.Errorf("%d of %d clients that read were ended", n, clients)
	}
	var all []time.Duration
	least, most := b.N, 1
	for _, one := range took {
		all = append(all, one...)
		least, most = min(least, len(one)), max(most, len(one))
	}
	slices.Sort(all)
	median, mean := all[len(all)/2], time.Duration(0)
	for _, one := range all {
		mean += one / time.Duration(len(all))
	}
	b.ReportMetric(float64(median.Microseconds()), "median-µs")
	b.ReportMetric(float64(mean.Microseconds()), "mean-µs")
	b.ReportMetric(float64(all[len(all)*99/100])/float64(median), "p99/median")
	b.ReportMetric(float64(all[len(all)*99/100])/float64(mean), "p99/mean")
	b.ReportMetric(float64(most)/float64(max(1, least)), "most/least")
}

// stream is a client that reads a stream until the benchmark is over.
func stream(b *testing.B, addr string, ended *atomic.Int64) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	var over atomic.Bool
	b.Cleanup(func() {
		over.Store(true)
		_ = conn.Close()
	})
	_, err = fmt.Fprintf(conn, "GET /socket/sse?join=room:1 HTTP/1.0\r\nHost: %s\r\n\r\n", addr)
	if err != nil {
		b.Fatal(err)
	}
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, nil) //nolint:bodyclose // its connection is closed
	if err != nil || res.StatusCode != http.StatusOK {
		b.Fatalf("got %v and error %v", res, err)
	}
	body := bufio.NewReader(res.Body)
	for joined := false; !joined; {
		line, err := body.ReadString('\n')
		if err != nil {
			b.Fatal(err)
		}
		joined = len(line) > len("data: ") && line[:len("data: ")] == "data: "
	}
	go func() {
		_, _ = io.Copy(io.Discard, body)
		if !over.Load() {
			ended.Add(1)
		}
	}()
}
