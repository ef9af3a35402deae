package storetest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-chime/chime/store"
)

// wanted is a page to be compared with one that was read.
type wanted store.Page

// page is the whole of a topic with these messages.
func page(m ...store.Message) wanted {
	w := wanted{Messages: m, Complete: true}
	if len(m) > 0 {
		w.Top = m[len(m)-1].Offset
	}
	return w
}

func (w wanted) only(m []store.Message) wanted { w.Messages = m; return w }
func (w wanted) incomplete() wanted            { w.Complete = false; return w }
func (w wanted) more() wanted                  { w.More = true; return w }

func wantPage(t *testing.T, s store.Store, topic string, r store.Range, want wanted) {
	t.Helper()
	got := read(t, s, topic, r)
	if got.Top != want.Top || got.Complete != want.Complete || got.More != want.More {
		t.Errorf("read %.20q %+v: got top %d, complete %t, more %t, want %d, %t, %t",
			topic, r, got.Top, got.Complete, got.More, want.Top, want.Complete, want.More)
	}
	if d := diff(got.Messages, want.Messages); d != "" {
		t.Errorf("read %.20q %+v: %s", topic, r, d)
	}
}

// diff says how got differs from want, or nothing.
func diff(got, want []store.Message) string {
	if !slices.EqualFunc(got, want, same) {
		return fmt.Sprintf("got %s, want %s", list(got), list(want))
	}
	return ""
}

func same(a, b store.Message) bool {
	return a.Offset == b.Offset && a.Prev == b.Prev && a.At.Equal(b.At) &&
		a.Event == b.Event && a.Key == b.Key && a.Sum == b.Sum && a.Erases == b.Erases && a.Binary == b.Binary && bytes.Equal(a.Payload, b.Payload)
}

func show(m store.Message) string {
	return fmt.Sprintf("{%d<-%d %s %.20s %.20q %.20q}", m.Prev, m.Offset, m.At.Format(time.RFC3339Nano), m.Event, m.Key, m.Payload)
}

func list(messages []store.Message) string {
	var b strings.Builder
	for _, m := range messages {
		b.WriteString(show(m))
	}
	return "[" + b.String() + "]"
}
