package brokertest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

// Random says what RunModel does.
type Random struct {
	Seed  uint64
	Steps int
	// Varies has the retention of a topic change with each message. Without it each topic
	// keeps its own.
	Varies bool
	// Proven is for a broker that can't always prove that a page is complete, and does not
	// know what came before its first message: of pages that are, it knows so of this part, or
	// more. 0: of all.
	Proven float64
	// Within is how long another node may still read what one has redacted. 0: not at all.
	Within time.Duration
}

// RunModel does the same to b and to a store in memory, at random, and compares all that can
// be read. Offsets of one are not those of the other. B is new, not started, and its history
// is empty. A failure shows the last steps; the caller prints the seed.
func RunModel(t *testing.T, b broker.Broker, how Random) {
	b.Start(deaf{})
	w := &twin{
		t: t, broker: b, how: how, memory: store.NewMemory(), from: map[uint64]uint64{0: 0, store.All: store.All}, given: map[string][]uint64{},
		at: time.Now().Add(-12*time.Hour - time.Hour/2).Round(time.Microsecond),
	}
	r := rand.New(rand.NewPCG(how.Seed, 0))
	for range how.Steps {
		w.did = append(w.did, w.step(r))
		if t.Failed() {
			for _, step := range w.did[max(0, len(w.did)-25):] {
				t.Log(step)
			}
			t.FailNow()
		}
	}
	if float64(w.proven) < float64(w.complete)*how.Proven {
		t.Errorf("of %d pages that are complete, %d were known to be, want %.0f %%", w.complete, w.proven, 100*how.Proven)
	}
}

// deaf is a sink that nobody looks at.
type deaf struct{}

func (deaf) Published(broker.Publication)  {}
func (deaf) Erased(string, store.Position) {}
func (deaf) Lost(string)                   {}

// twin is a broker, and what it should be like.
type twin struct {
	t                *testing.T
	how              Random
	broker           broker.Broker
	memory           *store.Memory
	from             map[uint64]uint64 // the offset in the broker of each in memory
	given            map[string][]uint64
	at               time.Time // of the next message: half an hour from each age, so that no clock decides
	did              []string
	complete, proven int
}

// retentions are what the topics of a model keep, if that does not vary. The names are such
// as engines have a meaning of their own for.
var retentions = map[string]store.Retention{"all{}": {}, "few%{": {Keep: 12}, "aging \u00e9.*>": {Keep: 30, Age: 3 * time.Hour}}

func (w *twin) step(r *rand.Rand) string {
	topics := []string{"all{}", "few%{", "aging \u00e9.*>"}
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
		return w.read(topic, someRange(r, dice < 60, known))
	case dice < 97:
		return w.redact(topic, known)
	}
	if err := errors.Join(w.memory.Forget(w.t.Context(), topic), w.broker.Erase(w.t.Context(), topic, 0)); err != nil {
		w.t.Errorf("forget %s: %v", topic, err)
	}
	return "forget " + topic
}

// someRange is one of the newest, or behind an offset.
func someRange(r *rand.Rand, newest bool, known uint64) store.Range {
	part := store.Range{Newest: newest, Limit: r.IntN(12), Bytes: r.IntN(200)}
	switch {
	case r.IntN(8) == 0:
	case newest:
		part.Before = known
	default:
		part.After = known
	}
	if r.IntN(3) == 0 {
		part.Limit = 0
	}
	if r.IntN(3) == 0 {
		part.Bytes = 0
	}
	return part
}

func (w *twin) redact(topic string, known uint64) string {
	step := fmt.Sprintf("redact %d of %s", known, topic)
	if known == 0 {
		return step
	}
	want, got := w.memory.Redact(w.t.Context(), topic, known), w.broker.Erase(w.t.Context(), topic, w.from[known])
	if (want == nil) != (got == nil) || got != nil && !errors.Is(got, store.ErrNotFound) {
		w.t.Errorf("%s: got %v, want %v", step, got, want)
	}
	return step
}

// message is one that is said, with a key perhaps, or that erases another.
func (w *twin) message(r *rand.Rand, known uint64) store.Message {
	m := store.Message{Event: fmt.Sprint("e\u00e9 ", r.IntN(5)), Payload: make([]byte, r.IntN(20)), Binary: r.IntN(2) == 0}
	if r.IntN(40) == 0 && time.Since(w.at) > 90*time.Minute {
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
	return m
}

// append has both take a message, or both refuse it.
func (w *twin) append(r *rand.Rand, topic string, known uint64) string {
	keep, m := retentions[topic], w.message(r, known)
	if w.how.Varies {
		keep = store.Retention{Keep: r.IntN(30), Age: time.Duration(r.IntN(4)) * time.Hour}
	}
	step := fmt.Sprintf("append to %s, key %q, sum %q, at %v, erasing %d, %+v", topic, m.Key, m.Sum, m.At, m.Erases, keep)
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
func (w *twin) read(topic string, r store.Range) string {
	step := fmt.Sprintf("read %s, %+v", topic, r)
	want, err := w.memory.Read(w.t.Context(), topic, r)
	if err != nil {
		w.t.Fatal(err)
	}
	r.After, r.Before = w.from[r.After], w.from[r.Before]
	got, err := w.broker.History().Read(w.t.Context(), topic, r)
	for end := time.Now().Add(w.how.Within); err == nil && len(got.Messages) > len(want.Messages) && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		got, err = w.broker.History().Read(w.t.Context(), topic, r)
	}
	if err != nil {
		w.t.Errorf("%s: %v", step, err)
		return step
	}
	exact := w.how.Proven == 0
	if want.Complete {
		w.complete++
		if got.Complete {
			w.proven++
		}
	}
	if got.Top != w.from[want.Top] || got.Complete && !want.Complete || exact && got.Complete != want.Complete ||
		got.More != want.More || len(got.Messages) != len(want.Messages) {
		w.t.Errorf("%+v: got %d messages, top %d, complete %t, more %t, want %d, %d, %t, %t", r, len(got.Messages), got.Top, got.Complete, got.More,
			len(want.Messages), w.from[want.Top], want.Complete, want.More)
		return step
	}
	for i, m := range want.Messages {
		g := got.Messages[i]
		if g.Offset != w.from[m.Offset] || g.Event != m.Event || g.Key != m.Key || g.Sum != m.Sum || g.Binary != m.Binary ||
			!slices.Equal(g.Payload, m.Payload) || g.At.Sub(m.At).Abs() > time.Second || exact && g.Prev != w.from[m.Prev] {
			w.t.Errorf("%+v: message %d: got %+v, want %+v, at %d behind %d", r, i, g, m, w.from[m.Offset], w.from[m.Prev])
		}
	}
	return step
}
