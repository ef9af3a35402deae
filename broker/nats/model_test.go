package nats_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/nats"
	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/store"
)

// The same is done to a broker and to store.Memory, and all that can be read is compared.
// Offsets of one are not those of the other. A page that is complete in memory may be not so
// in the broker, which can't always prove it; never the other way round.
func TestAtRandomItIsLikeMemory(t *testing.T) {
	s := serve(t)
	b := open(t, nats.Options{Server: s, Prefix: prefix(), KeyWindow: time.Hour})
	b.Start(ignored{})
	w := &twin{t: t, broker: b, memory: store.NewMemory(), from: map[uint64]uint64{0: 0, store.All: store.All}, given: map[string][]uint64{}, at: time.Now().Add(-12*time.Hour - time.Hour/2)}
	r := rand.New(rand.NewPCG(need.Seed(t), 0))
	for range need.Rounds(1500, 6000) {
		w.did = append(w.did, w.step(r))
		if t.Failed() {
			for _, step := range w.did[max(0, len(w.did)-25):] {
				t.Log(step)
			}
			t.FailNow()
		}
	}
	if w.proven*10 < w.complete*6 {
		t.Errorf("of %d pages that are complete, %d were known to be, want six of ten", w.complete, w.proven)
	}
}

// ignored is a sink that nobody looks at.
type ignored struct{}

func (ignored) Published(broker.Publication)  {}
func (ignored) Erased(string, store.Position) {}
func (ignored) Lost(string)                   {}

// twin is a broker, and what it should be like.
type twin struct {
	t                *testing.T
	broker           *nats.Broker
	memory           *store.Memory
	from             map[uint64]uint64 // the offset in the broker of each in memory
	given            map[string][]uint64
	at               time.Time // of the next message: half an hour from each age, so that no clock decides
	did              []string
	complete, proven int
}

// kept is what each topic retains. It stays so: what a longer retention brings back is another
// test's.
var kept = map[string]store.Retention{"all": {}, "few": {Keep: 12}, "aging \u00e9.*>": {Keep: 30, Age: 3 * time.Hour}}

func (w *twin) step(r *rand.Rand) (step string) {
	topics := []string{"all", "few", "aging \u00e9.*>"}
	topic := topics[r.IntN(len(topics))]
	known := uint64(0) // mostly an offset of the topic, in memory
	if given := w.given[topic]; len(given) > 0 {
		known = given[len(given)-1-r.IntN(min(len(given), 40))]
		if r.IntN(3) == 0 {
			known = given[len(given)-1]
		}
	}
	switch dice := r.IntN(100); {
	case dice < 45:
		return w.append(r, topic, known)
	case dice < 90:
		rg := store.Range{Newest: dice < 60, Limit: r.IntN(12), Bytes: r.IntN(200)}
		switch {
		case r.IntN(8) == 0:
		case rg.Newest:
			rg.Before = known
		default:
			rg.After = known
		}
		if r.IntN(3) == 0 {
			rg.Limit = 0
		}
		if r.IntN(3) == 0 {
			rg.Bytes = 0
		}
		w.read(topic, rg)
		return fmt.Sprintf("read %s, %+v", topic, rg)
	case dice < 97:
		step = fmt.Sprintf("redact %d of %s", known, topic)
		if known == 0 {
			return step
		}
		want, got := w.memory.Redact(w.t.Context(), topic, known), w.broker.Erase(w.t.Context(), topic, w.from[known])
		if (want == nil) != (got == nil) || got != nil && !errors.Is(got, store.ErrNotFound) {
			w.t.Errorf("%s: got %v, want %v", step, got, want)
		}
	default:
		step = "forget " + topic
		if err := errors.Join(w.memory.Forget(w.t.Context(), topic), w.broker.Erase(w.t.Context(), topic, 0)); err != nil {
			w.t.Errorf("%s: %v", step, err)
		}
	}
	return step
}

// append has both take a message, or both refuse it.
func (w *twin) append(r *rand.Rand, topic string, known uint64) string {
	keep := kept[topic]
	m := store.Message{Event: fmt.Sprint("e\u00e9 ", r.IntN(5)), Payload: make([]byte, r.IntN(20)), Binary: r.IntN(2) == 0}
	if r.IntN(40) == 0 && time.Since(w.at) > time.Hour {
		w.at = w.at.Add(time.Hour)
	}
	w.at = w.at.Add(time.Millisecond)
	m.At = w.at
	if r.IntN(3) == 0 {
		m.Key, m.Event, m.Payload = fmt.Sprint("key % ", r.IntN(6)), "once", make([]byte, r.IntN(2))
		if r.IntN(2) == 0 {
			m.Sum = fmt.Sprint(r.IntN(2))
		}
	}
	if r.IntN(8) == 0 && known != 0 {
		if m.Erases = known; r.IntN(10) == 0 {
			m.Erases = store.All
		}
	}
	step := fmt.Sprintf("append to %s, key %q, sum %q, at %v, erasing %d", topic, m.Key, m.Sum, m.At, m.Erases)
	want, wantErr := w.memory.Append(w.t.Context(), topic, m, keep, nil)
	m.Erases = w.from[m.Erases]
	got, err := w.broker.Publish(w.t.Context(), broker.Publication{Message: m, Topic: topic}, &keep)
	for _, e := range []error{store.ErrKeyReused, store.ErrNotFound} {
		if errors.Is(wantErr, e) != errors.Is(err, e) {
			w.t.Errorf("%s: got %v, want %v", step, err, wantErr)
		}
	}
	if (err == nil) != (wantErr == nil) {
		w.t.Errorf("%s: got %v, want %v", step, err, wantErr)
	}
	if err != nil {
		return step
	}
	if first, ok := w.from[want]; ok && first != got.Offset {
		w.t.Errorf("%s: got offset %d, want %d, where its key is", step, got.Offset, first)
	} else if !ok {
		w.from[want] = got.Offset
		w.given[topic] = append(w.given[topic], want)
	}
	return fmt.Sprint(step, ": ", want, " is ", got.Offset)
}

// read compares a page.
func (w *twin) read(topic string, r store.Range) {
	want, err := w.memory.Read(w.t.Context(), topic, r)
	if err != nil {
		w.t.Fatal(err)
	}
	r.After, r.Before = w.from[r.After], w.from[r.Before]
	got, err := w.broker.History().Read(w.t.Context(), topic, r)
	if err != nil {
		w.t.Error(err)
		return
	}
	if want.Complete {
		w.complete++
		if got.Complete {
			w.proven++
		}
	}
	if got.Top != w.from[want.Top] || got.Complete && !want.Complete || got.More != want.More || len(got.Messages) != len(want.Messages) {
		w.t.Errorf("%+v: got %d messages, top %d, complete %t, more %t, want %d, %d, %t, %t", r, len(got.Messages), got.Top, got.Complete, got.More,
			len(want.Messages), w.from[want.Top], want.Complete, want.More)
		return
	}
	for i, m := range want.Messages {
		m.Offset = w.from[m.Offset]
		if g := got.Messages[i]; g.Offset != m.Offset || g.Event != m.Event || g.Key != m.Key || g.Sum != m.Sum ||
			g.Binary != m.Binary || !slices.Equal(g.Payload, m.Payload) || !g.At.Equal(m.At) {
			w.t.Errorf("message %d: got %+v, want %+v", i, g, m)
		}
	}
}
