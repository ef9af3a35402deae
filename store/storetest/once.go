package storetest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chime/chime/store"
)

// keyed is a message that is appended once.
func keyed(key, s string) store.Message {
	m := text(s)
	m.Key = key
	return m
}

// wantFirst appends m again, and wants the offset of the first time and nothing else.
func wantFirst(t *testing.T, s store.Store, topic string, m, first store.Message) {
	t.Helper()
	// Its retention would trim the topic, if it was taken.
	if offset, err := s.Append(t.Context(), topic, m, store.Retention{Keep: 1}, mute(t)); err != nil || offset != first.Offset {
		t.Errorf("append to %q of key %q again: got %d, %v, want %d", topic, m.Key, offset, err, first.Offset)
	}
}

func wantReused(t *testing.T, s store.Store, topic string, m store.Message) {
	t.Helper()
	if _, err := s.Append(t.Context(), topic, m, store.Retention{Keep: 1}, mute(t)); !errors.Is(err, store.ErrKeyReused) {
		t.Errorf("append to %q of something else with key %q: got %v, want %v", topic, m.Key, err, store.ErrKeyReused)
	}
}

func once(t *testing.T, s store.Store) {
	m := []store.Message{add(t, s, "a", text("none"), everything), add(t, s, "a", keyed("k", "1"), everything), add(t, s, "a", text("none"), everything)}
	for range 2 {
		wantFirst(t, s, "a", keyed("k", "1"), m[1])
	}
	other := keyed("k", "1")
	other.At, other.Offset, other.Prev = time.Now().Add(-time.Hour), 7, 6
	wantFirst(t, s, "a", other, m[1])
	for _, change := range []func(*store.Message){
		func(m *store.Message) { m.Payload = []byte(`"2"`) },
		func(m *store.Message) { m.Payload = nil },
		func(m *store.Message) { m.Event = "else" },
		func(m *store.Message) { m.Binary = true },
	} {
		other := keyed("k", "1")
		change(&other)
		wantReused(t, s, "a", other)
	}
	wantPage(t, s, "a", all, page(m...))

	// What is made anew each time is compared by its sum.
	sum := func(sum, s string) store.Message {
		m := keyed("summed", s)
		m.Sum = sum
		return m
	}
	m = append(m, add(t, s, "a", sum("s", "1"), everything))
	wantFirst(t, s, "a", sum("s", "2"), m[3])
	wantReused(t, s, "a", sum("S", "1"))
	wantReused(t, s, "a", sum("", "2"))
	wantFirst(t, s, "a", sum("", "1"), m[3])

	// Each topic has its own, and case matters.
	wantPage(t, s, "b", all, page(add(t, s, "b", keyed("k", "other"), everything)))
	m = append(m, add(t, s, "a", keyed("K", "other"), everything), add(t, s, "a", keyed("k\u00e9 ", "other"), everything))
	wantFirst(t, s, "a", keyed("k\u00e9 ", "other"), m[5])
	wantPage(t, s, "a", all, page(m...))
}

// freed holds a store to a key that is free when its message is no longer kept, however
// that came, and that leads to the later message then.
func freed(t *testing.T, s store.Store) {
	for name, end := range map[string]func(topic string, m store.Message){
		"trimmed":   func(topic string, _ store.Message) { addN(t, s, topic, 2, store.Retention{Keep: 2}) },
		"aged":      func(string, store.Message) { time.Sleep(61 * time.Minute) },
		"forgotten": func(topic string, _ store.Message) { _ = s.Forget(t.Context(), topic) },
		"redacted":  func(topic string, m store.Message) { _ = s.Redact(t.Context(), topic, m.Offset) },
	} {
		hour := store.Retention{Age: time.Hour}
		first := add(t, s, name, keyed("k", "1"), hour)
		wantFirst(t, s, name, keyed("k", "1"), first)
		end(name, first)
		second := add(t, s, name, keyed("k", "2"), hour)
		wantFirst(t, s, name, keyed("k", "2"), second)
		wantReused(t, s, name, keyed("k", "1"))
		for i := range 200 { // enough for any sweep to delete what is no longer kept
			add(t, s, name, keyed(fmt.Sprint(i), "x"), store.Retention{Keep: 201})
		}
		wantFirst(t, s, name, keyed("k", "2"), second)
		if err := s.Redact(t.Context(), name, second.Offset); err != nil {
			t.Errorf("%s: redact: %v", name, err)
		}
		add(t, s, name, keyed("k", "1"), everything)
	}
	add(t, s, "none", keyed("k", "1"), store.Retention{Keep: 1})
	add(t, s, "none", text("x"), store.Retention{Keep: 1})
	add(t, s, "none", keyed("k", "2"), store.Retention{Keep: 1})
}

func badKeys(t *testing.T, s store.Store) {
	longest := strings.Repeat("k", store.MaxKey)
	m := add(t, s, "a", keyed(longest, "1"), everything)
	wantFirst(t, s, "a", keyed(longest, "1"), m)
	for _, c := range []struct{ key, says string }{
		{longest + "k", "256"}, {strings.Repeat("k", 10_000), "10000"}, {"\xff", `"\xff"`}, {"a\nb", `"a\nb"`}, {"a\u2028", `\u2028`}, {"\x00", `"\x00"`},
	} {
		if _, err := s.Append(t.Context(), "a", keyed(c.key, "1"), everything, mute(t)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("append of key %.20q: got %v, want an error that says %s", c.key, err, c.says)
		}
	}
	bad := keyed("k", "1")
	bad.Sum = longest + "s"
	if _, err := s.Append(t.Context(), "a", bad, everything, mute(t)); err == nil || !strings.Contains(err.Error(), "sum: ") {
		t.Errorf("append with a sum of 256 bytes: got %v, want an error that says so", err)
	}
	wantPage(t, s, "a", all, page(m))
}

// onceAtOnce has many append the same at one time: there is one message of each key,
// and all are told where it is.
func onceAtOnce(t *testing.T, s store.Store) {
	const appenders, keys = 8, 40
	var wg sync.WaitGroup
	var got [appenders][keys]uint64
	announced := 0 // without a lock of ours
	for w := range appenders {
		wg.Go(func() {
			for k := range keys {
				offset, err := s.Append(t.Context(), "a", keyed(fmt.Sprint(k), fmt.Sprint(k)), everything, func(store.Message) { announced++ })
				if err != nil {
					t.Errorf("append: %v", err)
				}
				got[w][k] = offset
			}
		})
	}
	wg.Wait()
	p := read(t, s, "a", all)
	if announced != keys || len(p.Messages) != keys {
		t.Errorf("got %d announcements and %d messages, want %d", announced, len(p.Messages), keys)
	}
	for _, m := range p.Messages {
		for w := range appenders {
			var k int
			if _, err := fmt.Sscan(m.Key, &k); err != nil || got[w][k] != m.Offset {
				t.Errorf("append of key %q: got offset %d, want %d", m.Key, got[w][k], m.Offset)
			}
		}
	}
}
