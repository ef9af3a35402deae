package redis

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/go-chime/chime/internal/redistest"
)

// patience is how long a node may take to find out about something.
const patience = redistest.Patience

var prefixes atomic.Int64

// fresh returns a prefix that nobody has used.
func fresh() string { return fmt.Sprintf("test-%d", prefixes.Add(1)) }

// open returns a broker that is closed with the test.
func open(t testing.TB, url string, o Options) *Broker {
	t.Helper()
	if o.Prefix == "" {
		o.Prefix = fresh()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(lines{t}, nil))
	}
	b, err := Open(context.Background(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// lines notes what is logged for a failure.
type lines struct{ t testing.TB }

func (l lines) Write(b []byte) (int, error) {
	l.t.Logf("%s", bytes.TrimSpace(b))
	return len(b), nil
}
