// Package storetest is the suite that every [store.Store] passes.
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) store.Store {
//			s := store.NewMemory()
//			t.Cleanup(func() { _ = s.Close() })
//			return s
//		})
//	}
//
// It holds a store to what the interface says of messages, order, completeness,
// retention and concurrency; with [RunDurable] also to what it has when it is
// opened again. How fast a store is, and what a power cut leaves, are for its own
// tests. Run it with -race.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/store"
)

// Run checks the stores that open returns. Each has to be new, empty and shared
// with nobody; open sees to its end with t.Cleanup. A store with a Close method
// is closed by one of the tests, so Close must bear being called again.
//
// Where time matters, the store is opened and used in a testing/synctest bubble:
// it must take the time from package time, and start its goroutines in open.
//
// The random test prints its seed when it fails; CHIME_SEED repeats one.
func Run(t *testing.T, open func(t *testing.T) store.Store) { run(t, open, nil) }

// RunDurable is Run for a store that is there again when its process is. again
// opens what s, which open or again has returned, has left: after its Close, or,
// if killed, as it is without that, and sees to the end of both. All that was
// appended has to be there, in the same epoch.
//
// It is called in a bubble: there, after a synctest.Wait, nothing is on its way.
func RunDurable(t *testing.T, open func(t *testing.T) store.Store, again func(t *testing.T, s store.Store, killed bool) store.Store) {
	run(t, open, again)
	for _, killed := range []bool{false, true} {
		t.Run(fmt.Sprintf("all is there again, killed=%t", killed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := open(t)
				reopened(t, s, func() store.Store { return again(t, s, killed) })
			})
		})
	}
}

func run(t *testing.T, open func(t *testing.T) store.Store, again func(t *testing.T, s store.Store, killed bool) store.Store) {
	for _, b := range []struct {
		name string
		run  func(t *testing.T, s store.Store)
	}{
		{"an epoch is one history", func(t *testing.T, s store.Store) { epoch(t, s, open(t)) }},
		{"what is appended is read", roundTrip},
		{"announced before Append returns", announcement},
		{"offsets lead from message to message", offsets},
		{"after an offset", after},
		{"the newest", newest},
		{"older pages go back to the beginning", before},
		{"what is lost is told to who reads older pages", missed},
		{"pages are bounded in messages and bytes", bounds},
		{"a page is the caller's own", ownership},
		{"an unknown topic is empty and stays unknown", unknown},
		{"topics are apart", apart},
		{"keep trims, and a position before it is incomplete", keep},
		{"the last retention holds", lastRetention},
		{"forget", forget},
		{"redact leaves positions complete", redact},
		{"a key has a message appended once", once},
		{"what can't be a key is an error", badKeys},
		{"appends of one key at one time are one message", onceAtOnce},
		{"a message takes another one back", erase},
		{"a message takes all back", eraseAll},
		{"a context that is done begins nothing", cancelled},
		{"a closed store says so", closed},
		{"racing appenders are announced in order", race},
		{"what is announced can be read", announcedIsRead},
		{"complete pages have no gap", noGap},
	} {
		t.Run(b.name, func(t *testing.T) { b.run(t, open(t)) })
	}
	for _, b := range []struct {
		name string
		run  func(t *testing.T, s store.Store)
	}{
		{"a message has the time it was given", at},
		{"aged messages are not returned", age},
		{"what has aged does not come back", agedStaysAged},
		{"a key is free when its message is gone", freed},
		{"a topic outlives its messages", outlives},
		{"a topic that begins anew does not vouch for the past", anew},
		{"at random like the model", func(t *testing.T, s store.Store) { random(t, s, again) }},
	} {
		t.Run(b.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { b.run(t, open(t)) })
		})
	}
}

var (
	everything = store.Retention{}
	all        = store.Range{}
)

func epoch(t *testing.T, s, other store.Store) {
	if first := s.Epoch(); first == "" || s.Epoch() != first {
		t.Errorf("epoch: got %q and then %q, want the same, not empty", s.Epoch(), s.Epoch())
	}
	if s.Epoch() == other.Epoch() {
		t.Errorf("epochs of two stores: got %q for both", s.Epoch())
	}
	if p := read(t, s, "a", all); p.Epoch != s.Epoch() {
		t.Errorf("a page of an empty topic has epoch %q, want %q", p.Epoch, s.Epoch())
	}
	add(t, s, "a", text("x"), everything)
	if p := read(t, s, "a", all); p.Epoch != s.Epoch() {
		t.Errorf("a page has epoch %q, want %q", p.Epoch, s.Epoch())
	}
}

func roundTrip(t *testing.T, s store.Store) {
	var want []store.Message
	for _, m := range []store.Message{
		{Event: "text", Payload: []byte(`{"a":"ü\n"}`)},
		{Event: "binary", Payload: []byte{0, 0xff, '\n', 0xfe}, Binary: true},
		{Event: "empty", Payload: []byte{}},
		{Event: "none"},
		{Event: "", Payload: []byte(`null`)},
		{Event: "keyed", Payload: []byte(`1`), Key: "a key, \u00e9", Sum: "a sum"},
		{Event: "keyed binary", Binary: true, Key: "k"},
		{Event: "large", Payload: bytes.Repeat([]byte("x"), 1<<20)},
		{Event: "said earlier", Payload: []byte(`1`), At: time.Unix(1_000_000_000, 123_000_000)},
	} {
		// A topic each: the last is older than the others.
		topic := "topic " + m.Event
		want = append(want, add(t, s, topic, m, everything))
		wantPage(t, s, topic, all, page(want[len(want)-1:]...))
	}
	if got := want[len(want)-1].At; !got.Equal(time.Unix(1_000_000_000, 123_000_000)) {
		t.Errorf("At that was given: got %v, want it as it was", got)
	}
	if got := want[0].At; time.Since(got).Abs() > time.Minute {
		t.Errorf("At that was not given: got %v, want now", got)
	}
}

func announcement(t *testing.T, s store.Store) {
	calls := 0
	_, err := s.Append(t.Context(), "a", text("1"), everything, func(store.Message) { calls++ })
	if err != nil || calls != 1 {
		t.Errorf("append: got %v and %d announcements when it returned, want one", err, calls)
	}
	if _, err := s.Append(t.Context(), "a", text("2"), everything, nil); err != nil {
		t.Errorf("append without announce: got %v", err)
	}
	if got := read(t, s, "a", all); len(got.Messages) != 2 {
		t.Errorf("messages: got %s, want two", list(got.Messages))
	}
}

func offsets(t *testing.T, s store.Store) {
	last, top := uint64(0), map[string]uint64{}
	for i := range 30 {
		topic := fmt.Sprint(i * i % 7)
		m := add(t, s, topic, text("x"), store.Retention{Keep: 2})
		if m.Offset <= last {
			t.Errorf("offset in the store: got %d after %d, want more", m.Offset, last)
		}
		if m.Prev != top[topic] {
			t.Errorf("prev in topic %s: got %d, want %d", topic, m.Prev, top[topic])
		}
		last, top[topic] = m.Offset, m.Offset
	}
}

func after(t *testing.T, s store.Store) {
	m := addN(t, s, "a", 5, everything)
	for i := range m {
		wantPage(t, s, "a", store.Range{After: m[i].Offset}, page(m...).only(m[i+1:]))
	}
	add(t, s, "b", text("between"), everything)
	m = append(m, addN(t, s, "a", 1, everything)...)
	wantPage(t, s, "a", store.Range{After: m[5].Offset - 1}, page(m...).only(m[5:])) // an offset of another topic
	wantPage(t, s, "a", store.Range{After: m[5].Offset + 1}, page(m...).only(nil).incomplete())
}

func newest(t *testing.T, s store.Store) {
	m := addN(t, s, "a", 5, everything)
	wantPage(t, s, "a", store.Range{Newest: true}, page(m...))
	wantPage(t, s, "a", store.Range{Newest: true, Limit: 2}, page(m...).only(m[3:]).more())
	wantPage(t, s, "a", store.Range{Newest: true, Limit: 9}, page(m...))
}

func bounds(t *testing.T, s store.Store) {
	m := []store.Message{ // 3, 3, 5, 3, 3 bytes
		add(t, s, "a", text("a"), everything), add(t, s, "a", text("b"), everything),
		add(t, s, "a", text("ccc"), everything),
		add(t, s, "a", text("d"), everything), add(t, s, "a", text("e"), everything),
	}
	for _, c := range []struct {
		r        store.Range
		from, to int
		more     bool
	}{
		{store.Range{Limit: 2}, 0, 2, true},
		{store.Range{Limit: 5}, 0, 5, false},
		{store.Range{After: m[2].Offset, Limit: 2}, 3, 5, false},
		{store.Range{After: m[1].Offset, Limit: 2}, 2, 4, true},
		{store.Range{Bytes: 1}, 0, 1, true},
		{store.Range{Bytes: 6}, 0, 2, true},
		{store.Range{Bytes: 10}, 0, 2, true},
		{store.Range{Bytes: 11}, 0, 3, true},
		{store.Range{Bytes: 17}, 0, 5, false},
		{store.Range{Bytes: 17, Limit: 1}, 0, 1, true},
		{store.Range{After: m[3].Offset, Bytes: 1}, 4, 5, false},
		{store.Range{Newest: true, Bytes: 1}, 4, 5, true},
		{store.Range{Newest: true, Bytes: 10}, 3, 5, true},
		{store.Range{Newest: true, Bytes: 11}, 2, 5, true},
		{store.Range{Newest: true, Bytes: 17}, 0, 5, false},
		{store.Range{Newest: true, Bytes: 17, Limit: 4}, 1, 5, true},
		{store.Range{Newest: true, Before: m[3].Offset, Bytes: 1}, 2, 3, true},
		{store.Range{Newest: true, Before: m[3].Offset, Bytes: 8}, 1, 3, true},
		{store.Range{Newest: true, Before: m[3].Offset, Bytes: 11}, 0, 3, false},
		{store.Range{Newest: true, Before: m[1].Offset, Bytes: 1}, 0, 1, false},
	} {
		want := page(m...).only(m[c.from:c.to])
		want.More = c.more
		wantPage(t, s, "a", c.r, want)
	}
}

func ownership(t *testing.T, s store.Store) {
	m := addN(t, s, "a", 3, everything)
	first := read(t, s, "a", all)
	for i := range first.Messages {
		first.Messages[i] = store.Message{}
	}
	wantPage(t, s, "a", all, page(m...))

	second := read(t, s, "a", all)
	m = append(m, addN(t, s, "a", 3, store.Retention{Keep: 4})...)
	if err := s.Redact(t.Context(), "a", m[3].Offset); err != nil {
		t.Fatal(err)
	}
	if d := diff(second.Messages, m[:3]); d != "" {
		t.Errorf("a page read before others were appended, trimmed and redacted: %s", d)
	}
}

func unknown(t *testing.T, s store.Store) {
	for range 2 { // asking changes nothing
		wantPage(t, s, "a", all, page())
		wantPage(t, s, "a", store.Range{Newest: true, Limit: 5}, page())
		wantPage(t, s, "a", store.Range{After: 1}, page().incomplete())
		if err := s.Forget(t.Context(), "a"); err != nil {
			t.Errorf("forget: got %v, want no error", err)
		}
		if err := s.Redact(t.Context(), "a", 1); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("redact: got %v, want %v", err, store.ErrNotFound)
		}
	}
	if m := addN(t, s, "a", 1, everything)[0]; m.Prev != 0 || m.Offset == 0 {
		t.Errorf("first message: got offset %d, prev %d, want prev 0", m.Offset, m.Prev)
	}
}

func apart(t *testing.T, s store.Store) {
	topics := []string{"", "a", "a:", "a:b", "a\x00b", "A", "ü", "\xff", strings.Repeat("long", 1000)}
	kept := map[string][]store.Message{}
	for i := range 3 * len(topics) {
		topic := topics[i%len(topics)]
		kept[topic] = append(kept[topic], add(t, s, topic, text(topic), everything))
	}
	for _, topic := range topics {
		wantPage(t, s, topic, all, page(kept[topic]...))
	}
}

func keep(t *testing.T, s store.Store) {
	m := addN(t, s, "a", 10, store.Retention{Keep: 3})
	wantPage(t, s, "a", store.Range{Newest: true}, page(m...).only(m[7:]).incomplete())
	wantPage(t, s, "a", all, page(m...).only(m[7:]).incomplete())
	wantPage(t, s, "a", store.Range{After: m[5].Offset}, page(m...).only(m[7:]).incomplete())
	wantPage(t, s, "a", store.Range{After: m[6].Offset}, page(m...).only(m[7:]))
	if err := s.Redact(t.Context(), "a", m[6].Offset); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("redact what was trimmed: got %v, want %v", err, store.ErrNotFound)
	}
}

func lastRetention(t *testing.T, s store.Store) {
	m := addN(t, s, "a", 5, everything)
	m = append(m, addN(t, s, "a", 1, store.Retention{Keep: 2})...)
	wantPage(t, s, "a", store.Range{Newest: true}, page(m...).only(m[4:]).incomplete())
	m = append(m, addN(t, s, "a", 2, store.Retention{Keep: -1, Age: -1})...)
	wantPage(t, s, "a", store.Range{Newest: true}, page(m...).only(m[4:]).incomplete())
}

func forget(t *testing.T, s store.Store) {
	m := addN(t, s, "a", 3, everything)
	other := addN(t, s, "b", 1, everything)
	if err := s.Forget(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	wantPage(t, s, "a", store.Range{Newest: true}, page(m...).only(nil).incomplete())
	wantPage(t, s, "a", all, page(m...).only(nil).incomplete())
	wantPage(t, s, "a", store.Range{After: m[1].Offset}, page(m...).only(nil).incomplete())
	wantPage(t, s, "a", store.Range{After: m[2].Offset}, page(m...).only(nil))
	wantPage(t, s, "b", all, page(other...))
	if err := s.Redact(t.Context(), "a", m[2].Offset); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("redact what is forgotten: got %v, want %v", err, store.ErrNotFound)
	}

	next := addN(t, s, "a", 1, everything)[0]
	if next.Offset <= other[0].Offset || next.Prev != m[2].Offset {
		t.Errorf("next message: got offset %d, prev %d, want more than %d, prev %d", next.Offset, next.Prev, other[0].Offset, m[2].Offset)
	}
	wantPage(t, s, "a", store.Range{After: m[2].Offset}, page(next))
	wantPage(t, s, "a", store.Range{After: m[1].Offset}, page(next).incomplete())
}

func redact(t *testing.T, s store.Store) {
	m := addN(t, s, "a", 6, everything)
	other := addN(t, s, "b", 1, everything)
	kept := slices.Clone(m)
	for _, i := range []int{2, 0, 5} { // within, the first, the last
		if err := s.Redact(t.Context(), "a", m[i].Offset); err != nil {
			t.Fatalf("redact %d: %v", m[i].Offset, err)
		}
		kept = slices.DeleteFunc(kept, func(k store.Message) bool { return k.Offset == m[i].Offset })
		wantPage(t, s, "a", all, page(m...).only(kept))
		if err := s.Redact(t.Context(), "a", m[i].Offset); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("redact %d again: got %v, want %v", m[i].Offset, err, store.ErrNotFound)
		}
	}
	for _, offset := range []uint64{0, other[0].Offset, other[0].Offset + 1} {
		if err := s.Redact(t.Context(), "a", offset); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("redact %d, which is not of the topic: got %v, want %v", offset, err, store.ErrNotFound)
		}
	}
	wantPage(t, s, "a", store.Range{After: m[4].Offset}, page(m...).only(nil))
	wantPage(t, s, "a", store.Range{Newest: true, Limit: 2}, page(m...).only(kept[1:]).more())
	wantPage(t, s, "b", all, page(other...))

	// Three are left: that the redacted were once there does not push them out.
	next := add(t, s, "a", text("next"), store.Retention{Keep: 4})
	if next.Prev != m[5].Offset {
		t.Errorf("prev after a redacted message: got %d, want %d", next.Prev, m[5].Offset)
	}
	wantPage(t, s, "a", all, page(append(kept, next)...))
	next = add(t, s, "a", text("next"), store.Retention{Keep: 1})
	wantPage(t, s, "a", store.Range{After: m[5].Offset}, page(next).incomplete())
}

func cancelled(t *testing.T, s store.Store) {
	m := addN(t, s, "a", 2, everything)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Append(ctx, "a", text("x"), store.Retention{Keep: 1}, mute(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("append: got %v, want %v", err, context.Canceled)
	}
	if _, err := s.Read(ctx, "a", all); !errors.Is(err, context.Canceled) {
		t.Errorf("read: got %v, want %v", err, context.Canceled)
	}
	if err := s.Forget(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("forget: got %v, want %v", err, context.Canceled)
	}
	if err := s.Redact(ctx, "a", m[0].Offset); !errors.Is(err, context.Canceled) {
		t.Errorf("redact: got %v, want %v", err, context.Canceled)
	}
	wantPage(t, s, "a", all, page(m...))
	if next := add(t, s, "a", text("next"), everything); next.Prev != m[1].Offset {
		t.Errorf("prev after an append that was cancelled: got %d, want %d", next.Prev, m[1].Offset)
	}
}

func closed(t *testing.T, s store.Store) {
	c, ok := s.(io.Closer)
	if !ok {
		t.Skip("it has no Close")
	}
	m := addN(t, s, "a", 1, everything)
	if err := c.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	if _, err := s.Append(t.Context(), "a", text("x"), everything, mute(t)); !errors.Is(err, store.ErrClosed) {
		t.Errorf("append: got %v, want %v", err, store.ErrClosed)
	}
	if _, err := s.Read(t.Context(), "a", all); !errors.Is(err, store.ErrClosed) {
		t.Errorf("read: got %v, want %v", err, store.ErrClosed)
	}
	if err := s.Forget(t.Context(), "a"); !errors.Is(err, store.ErrClosed) {
		t.Errorf("forget: got %v, want %v", err, store.ErrClosed)
	}
	if err := s.Redact(t.Context(), "a", m[0].Offset); !errors.Is(err, store.ErrClosed) {
		t.Errorf("redact: got %v, want %v", err, store.ErrClosed)
	}
}

// mute returns an announce that must not be called.
func mute(t *testing.T) func(store.Message) {
	return func(m store.Message) { t.Errorf("announced: got %s, want nothing", show(m)) }
}

func text(s string) store.Message {
	return store.Message{Event: "said", Payload: fmt.Appendf(nil, "%q", s)}
}

// add appends m and returns it as it was announced.
func add(t *testing.T, s store.Store, topic string, m store.Message, keep store.Retention) (announced store.Message) {
	t.Helper()
	calls := 0
	if _, err := s.Append(t.Context(), topic, m, keep, func(a store.Message) { announced = a; calls++ }); err != nil || calls != 1 {
		t.Fatalf("append to %q: got %v and %d announcements, want one", topic, err, calls)
	}
	want := m
	want.Offset, want.Prev, want.At = announced.Offset, announced.Prev, announced.At
	if !same(announced, want) {
		t.Fatalf("announced in %q: got %s, want %s", topic, show(announced), show(want))
	}
	return announced
}

func addN(t *testing.T, s store.Store, topic string, n int, keep store.Retention) (announced []store.Message) {
	t.Helper()
	for i := range n {
		announced = append(announced, add(t, s, topic, text(fmt.Sprint(i)), keep))
	}
	return announced
}

func read(t *testing.T, s store.Store, topic string, r store.Range) store.Page {
	t.Helper()
	p, err := s.Read(t.Context(), topic, r)
	if err != nil {
		t.Fatalf("read %q: %v", topic, err)
	}
	return p
}
