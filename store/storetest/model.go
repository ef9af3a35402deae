package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/store"
)

// model is a topic as one would explain it: everything it was ever given, and
// what became of each. It is slow, and obviously right.
type model struct {
	entries []entry
	keep    store.Retention
}

type entry struct {
	store.Message
	state string
}

const (
	kept     = "kept"
	missing  = "missing" // trimmed, aged or forgotten
	redacted = "redacted"
)

func (m *model) top() uint64 {
	if len(m.entries) == 0 {
		return 0
	}
	return m.entries[len(m.entries)-1].Offset
}

func (m *model) kept() (messages []store.Message) {
	for _, e := range m.entries {
		if e.state == kept {
			messages = append(messages, e.Message)
		}
	}
	return messages
}

func (m *model) set(state string, which func(store.Message) bool) {
	for i, e := range m.entries {
		if e.state == kept && which(e.Message) {
			m.entries[i].state = state
		}
	}
}

// trim drops what the retention does not cover now.
func (m *model) trim() {
	if m.keep.Age > 0 {
		m.set(missing, func(e store.Message) bool { return time.Since(e.At) >= m.keep.Age })
	}
	if left := m.kept(); m.keep.Keep > 0 && len(left) > m.keep.Keep {
		oldest := left[len(left)-m.keep.Keep].Offset
		m.set(missing, func(e store.Message) bool { return e.Offset < oldest })
	}
}

// said returns the message that has the key of e, if there is one, and whether it says
// the same.
func (m *model) said(e store.Message) (first store.Message, found, same bool) {
	m.trim()
	for _, k := range m.kept() {
		if e.Key != "" && k.Key == e.Key {
			return k, true, k.Says(&e)
		}
	}
	return first, false, false
}

// append adds e, whose Offset is given, and returns it as it should be announced.
func (m *model) append(e store.Message, keep store.Retention) store.Message {
	m.trim()
	e.Prev = m.top()
	if now := time.Now(); e.At.IsZero() || e.At.After(now) {
		e.At = now
	}
	if before := m.kept(); len(before) > 0 && e.At.Before(before[len(before)-1].At) {
		e.At = before[len(before)-1].At
	}
	m.entries = append(m.entries, entry{e, kept})
	m.keep = keep
	m.trim()
	return e
}

func (m *model) read(r store.Range) wanted {
	m.trim()
	want := wanted{Top: m.top(), Complete: true}
	left := m.kept()
	if r.Newest {
		for _, e := range m.entries {
			want.Complete = want.Complete && e.state != missing
		}
		left = slices.DeleteFunc(left, func(e store.Message) bool { return r.Before > 0 && e.Offset >= r.Before })
		slices.Reverse(left)
	} else {
		want.Complete = r.After <= want.Top
		for _, e := range m.entries {
			if e.state == missing && e.Offset > r.After {
				want.Complete = false
			}
		}
		left = slices.DeleteFunc(left, func(e store.Message) bool { return e.Offset <= r.After })
	}
	size := 0
	for i, e := range left {
		size += len(e.Payload)
		if r.Limit > 0 && i == r.Limit || r.Bytes > 0 && size > r.Bytes && i > 0 {
			want.More = true
			break
		}
		want.Messages = append(want.Messages, e)
	}
	if r.Newest {
		slices.Reverse(want.Messages)
	}
	return want
}

func (m *model) forget() {
	for i := range m.entries {
		m.entries[i].state = missing
	}
}

// redact reports whether there was something to redact.
func (m *model) redact(offset uint64) bool {
	m.trim()
	before := len(m.kept())
	m.set(redacted, func(e store.Message) bool { return e.Offset == offset })
	return len(m.kept()) < before
}

// erase reports whether there was something to erase.
func (m *model) erase(offset uint64) bool {
	if offset != store.All {
		return m.redact(offset)
	}
	m.forget()
	return len(m.entries) > 0
}

// random does the same to s and to the model, and compares all that can be seen.
// Where there is again, it ends the store and opens it in between.
func random(t *testing.T, s store.Store, again func(t *testing.T, s store.Store, killed bool) store.Store) {
	const steps, trail = 3000, 15
	r := rand.New(rand.NewPCG(need.Seed(t), 0))
	topics := map[string]*model{"a": {}, "b": {}, "c": {}}
	names := []string{"a", "b", "c"}
	last := uint64(0)
	var did []string
	for range steps {
		topic := names[r.IntN(len(names))]
		m := topics[topic]
		known := uint64(0) // mostly an offset of the topic, or close to one
		if len(m.entries) > 0 {
			known = m.entries[len(m.entries)-1-r.IntN(min(len(m.entries), 40))].Offset
		}
		known += []uint64{0, 0, 0, 0, 1, 1000}[r.IntN(6)]

		var step string
		switch dice := r.IntN(100); {
		case again != nil && r.IntN(25) == 0:
			killed, epoch := r.IntN(2) == 0, s.Epoch()
			step = fmt.Sprintf("open again, killed %t", killed)
			s = again(t, s, killed)
			if s.Epoch() != epoch {
				t.Errorf("%s: got epoch %q, want %q", step, s.Epoch(), epoch)
			}
			for topic, m := range topics {
				wantPage(t, s, topic, store.Range{After: m.top()}, m.read(store.Range{After: m.top()}))
				wantPage(t, s, topic, all, m.read(all))
			}
		case dice < 45:
			keep := store.Retention{Keep: r.IntN(30), Age: time.Duration(r.IntN(120)) * time.Minute}
			e := store.Message{Event: fmt.Sprint(r.IntN(5)), Payload: make([]byte, r.IntN(20)), Binary: true}
			if r.IntN(5) == 0 {
				e.At = time.Now().Add(time.Duration(r.IntN(150)-120) * time.Minute)
			}
			if r.IntN(3) == 0 {
				e.Key, e.Event, e.Payload = fmt.Sprint("key ", r.IntN(6)), "once", make([]byte, r.IntN(2))
				if r.IntN(2) == 0 {
					e.Sum = fmt.Sprint(r.IntN(2))
				}
			}
			step = fmt.Sprintf("append to %s, key %q, %+v", topic, e.Key, keep)
			if first, found, says := m.said(e); found {
				if says {
					wantFirst(t, s, topic, e, first)
				} else {
					wantReused(t, s, topic, e)
				}
				break
			}
			if r.IntN(10) == 0 {
				if e.Erases = known; r.IntN(20) == 0 {
					e.Erases = store.All
				}
				step += fmt.Sprintf(", erasing %d", e.Erases)
				if e.Erases != 0 && !m.erase(e.Erases) {
					wantNothingErased(t, s, topic, e.Erases)
					break
				}
			}
			got := add(t, s, topic, e, keep)
			e.Offset, e.Erases, got.Erases = got.Offset, 0, 0
			if want := m.append(e, keep); !same(got, want) || got.Offset <= last {
				t.Errorf("%s: got %s after offset %d, want %s", step, show(got), last, show(want))
			}
			last = got.Offset
		case dice < 90:
			rg := store.Range{Newest: dice < 60, Limit: r.IntN(12), Bytes: r.IntN(200)}
			switch {
			case r.IntN(10) == 0:
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
			step = fmt.Sprintf("read %s, %+v", topic, rg)
			wantPage(t, s, topic, rg, m.read(rg))
		case dice < 95:
			step = fmt.Sprintf("redact %d of %s", known, topic)
			err := s.Redact(t.Context(), topic, known)
			if found := m.redact(known); found && err != nil || !found && !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s: got %v, want it found: %t", step, err, found)
			}
		case dice < 96:
			step = "forget " + topic
			if err := s.Forget(t.Context(), topic); err != nil {
				t.Errorf("%s: %v", step, err)
			}
			m.forget()
		default:
			pause := time.Duration(1+r.IntN(3000)) * time.Second
			step = fmt.Sprint("wait ", pause)
			time.Sleep(pause)
		}
		did = append(did, step)
		if t.Failed() {
			for _, step := range did[max(0, len(did)-trail):] {
				t.Log(step)
			}
			t.FailNow()
		}
	}
}
