package nats_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/go-chime/chime/broker/nats"
	"github.com/go-chime/chime/store"
)

// stored waits until a stream has so many messages.
func stored(t *testing.T, s *servedStream, want uint64) {
	t.Helper()
	var got uint64
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		info, err := s.stream.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got = info.State.Msgs; got == want {
			return
		}
	}
	t.Fatalf("the stream has %d messages, want %d", got, want)
}

// What is not retained is deleted while a topic is published in, but for a few.
func TestWhatIsNotRetainedIsDeleted(t *testing.T) {
	t.Parallel()
	s := serve(t)
	p := prefix()
	b := open(t, nats.Options{Server: s, Prefix: p})
	listen(t, b, "a")
	keep := store.Retention{Keep: 10}
	for i := range 64 {
		if _, err := b.Publish(t.Context(), said("a", fmt.Sprint(i)), &keep); err != nil {
			t.Fatal(err)
		}
	}
	stored(t, find(t, s, p), 10+16)
	if page := history(t, b, "a"); len(page.Messages) != 10 || page.Complete {
		t.Errorf("got %d messages, complete %t, want the newest 10", len(page.Messages), page.Complete)
	}
}

// A message that was trimmed does not come back when more is retained, on another node too.
func TestALongerRetentionBringsNothingBack(t *testing.T) {
	t.Parallel()
	s := serve(t)
	p := prefix()
	one := open(t, nats.Options{Server: s, Prefix: p})
	listen(t, one, "a")
	for i := range 5 {
		if _, err := one.Publish(t.Context(), said("a", fmt.Sprint(i)), &store.Retention{Keep: 2}); err != nil {
			t.Fatal(err)
		}
	}
	two := open(t, nats.Options{Server: s, Prefix: p})
	listen(t, two, "a")
	say(t, two, "a", "more")
	page := history(t, two, "a")
	if len(page.Messages) != 3 || string(page.Messages[0].Payload) != "3" || page.Complete {
		t.Errorf("got %d messages, complete %t, want the two that were kept, and one", len(page.Messages), page.Complete)
	}
}

// A topic of which all has aged knows where it ends.
func TestATopicThatHasAged(t *testing.T) {
	t.Parallel()
	s := serve(t)
	b := open(t, nats.Options{Server: s, Prefix: prefix()})
	listen(t, b, "a")
	var last store.Position
	for i := range 3 {
		m := said("a", fmt.Sprint(i))
		m.At = time.Now().Add(-2 * time.Hour)
		var err error
		if last, err = b.Publish(t.Context(), m, &store.Retention{Age: time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		r        store.Range
		complete bool
	}{
		{store.Range{}, false},
		{store.Range{Newest: true, Limit: 2}, false},
		{store.Range{After: last.Offset}, true},
		{store.Range{After: last.Offset - 1}, false},
		{store.Range{After: last.Offset + 1}, false},
	} {
		page, err := b.History().Read(t.Context(), "a", c.r)
		if err != nil || len(page.Messages) > 0 || page.Top != last.Offset || page.Complete != c.complete {
			t.Errorf("%+v: got %+v, %v, want nothing up to %d, complete %t", c.r, page, err, last.Offset, c.complete)
		}
	}
	if err := b.Erase(t.Context(), "a", last.Offset); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("erase what has aged: got %v, want %v", err, store.ErrNotFound)
	}
}

// A node that has stored a tombstone ends before it deletes what that erases. No reader is
// shown it, and another node deletes it.
func TestAnErasureThatWasBegunIsCompleted(t *testing.T) {
	t.Parallel()
	s := serve(t)
	p := prefix()
	b := open(t, nats.Options{Server: s, Prefix: p})
	l := listen(t, b, "a")
	say(t, b, "a", "stays")
	at := say(t, b, "a", "goes")
	l.wait(t, "both messages", func() bool { return len(l.messages) == 2 })
	stream := find(t, s, p)
	m := &client.Msg{Subject: stream.subject(t, "a"), Header: client.Header{"Chime-Event": {"erased"}, "Chime-Erases": {fmt.Sprint(at.Offset)}}}
	if _, err := stream.js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	page := history(t, b, "a")
	if len(page.Messages) != 2 || string(page.Messages[0].Payload) != "stays" || page.Messages[1].Event != "erased" {
		t.Errorf("got %+v, want what stays, and what says that the other is erased", page.Messages)
	}
	stored(t, stream, 2)
}

// Where the newest are is found also where nobody has said so, in a long topic among others.
func TestPagesOfALongTopic(t *testing.T) {
	t.Parallel()
	s := serve(t)
	p := prefix()
	b := open(t, nats.Options{Server: s, Prefix: p})
	b.Start(ignored{})
	stream := find(t, s, p)
	const n = 3000
	var offsets []uint64
	for i := range n { // by another program, without a word of where there are how many
		topic := "a"
		if i%3 > 0 || i > 1000 && i < 2000 {
			topic = "b"
		}
		future, err := stream.js.PublishMsgAsync(&client.Msg{Subject: stream.subject(t, topic), Header: client.Header{"Chime-Event": {"e"}}})
		if err != nil {
			t.Fatal(err)
		}
		if topic == "a" {
			offsets = append(offsets, uint64(i)+1)
		}
		_ = future
	}
	<-stream.js.PublishAsyncComplete()
	if info, err := stream.stream.Info(t.Context()); err != nil || info.State.Msgs != n {
		t.Fatalf("stored: got %+v, %v, want %d", info, err, n)
	}
	for _, limit := range []int{1, 10, 64, 500} {
		for before := len(offsets); before > 0; before -= max(limit, 97) {
			r := store.Range{Newest: true, Limit: limit}
			if before < len(offsets) {
				r.Before = offsets[before]
			}
			page, err := b.History().Read(t.Context(), "a", r)
			if err != nil {
				t.Fatal(err)
			}
			from := max(before-limit, 0)
			if len(page.Messages) != before-from || page.Messages[0].Offset != offsets[from] || page.Messages[before-from-1].Offset != offsets[before-1] || page.More != (from > 0) {
				t.Fatalf("%+v: got %d messages from %d, more %t, want %d from %d", r, len(page.Messages), page.Messages[0].Offset, page.More, before-from, offsets[from])
			}
		}
	}
	after := uint64(0)
	for i := 0; i < len(offsets); {
		page, err := b.History().Read(t.Context(), "a", store.Range{After: after, Limit: 100})
		if err != nil || len(page.Messages) == 0 {
			t.Fatalf("after %d: got %d messages, %v", after, len(page.Messages), err)
		}
		for _, m := range page.Messages {
			if m.Offset != offsets[i] {
				t.Fatalf("message %d: got %d, want %d", i, m.Offset, offsets[i])
			}
			i++
		}
		after = page.Messages[len(page.Messages)-1].Offset
		if page.More != (after != offsets[len(offsets)-1]) {
			t.Fatalf("after %d: more is %t", after, page.More)
		}
	}
}
