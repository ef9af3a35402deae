package tree

import (
	"fmt"
	"testing"
	"time"

	"github.com/go-chime/chime/store"
)

// What leads to messages by their keys goes with them: a file does not grow by keys.
func TestKeysGoWithTheirMessages(t *testing.T) {
	do := planned(t)
	keys := func(p *Plan) int { return p.topics.tx.Bucket(onceBucket).Stats().KeyN }
	want := func(what string, at time.Duration, most int) {
		t.Helper()
		do(at, func(p *Plan) {
			if n := keys(p); n > most {
				t.Errorf("%s: got %d keys, want %d at most", what, n, most)
			}
		})
	}
	fill := func(at time.Duration, topic string, keep store.Retention) {
		t.Helper()
		for i := range 10 {
			do(at, func(p *Plan) {
				for k := range 10 {
					m := store.Message{Event: "once", Key: fmt.Sprint(at, " ", 10*i+k)}
					if _, anew, err := p.Append(topic, m, keep); err != nil || !anew {
						t.Fatalf("append of key %q: got new %t, %v", m.Key, anew, err)
					}
				}
			})
		}
	}
	sweep := func(at time.Duration) { do(at, func(p *Plan) { NewSweeper(p).Sweep(1000, 1000) }) }

	fill(1, "few", store.Retention{Keep: 20})
	fill(2, "few", store.Retention{Keep: 20})
	want("200 of which 20 are kept", 3, 20+20/4+deadLeast)
	do(4, func(p *Plan) { _ = p.Forget("few") })
	sweep(5)
	want("all forgotten", 6, 0)
	fill(7, "aging", store.Retention{Age: time.Hour})
	sweep(2 * time.Hour)
	want("all aged", 2*time.Hour, 0)
	do(2*time.Hour, func(p *Plan) {
		for i, key := range []string{"k", "", "k"} {
			if _, anew, err := p.Append("trimmed", store.Message{Event: fmt.Sprint(i), Key: key}, store.Retention{Keep: 1}); err != nil || !anew {
				t.Errorf("append %d of one transaction, which keeps 1: got new %t, %v", i, anew, err)
			}
		}
	})
	do(3*time.Hour, func(p *Plan) {
		m, _, err := p.Append("one", store.Message{Key: "k"}, store.Retention{})
		if err == nil {
			err = p.Redact("one", m.Offset)
		}
		if n := keys(p); err != nil || n != 1 { // that of the trimmed
			t.Errorf("redacted in the transaction that appended it: got %d keys, %v", n, err)
		}
	})
}

// A message without a key does not write to the tree of keys, and is as long as ever.
func TestAKeyCostsNothingWhereThereIsNone(t *testing.T) {
	if n := len(appendRecord(nil, recordKey(1, 2), &record{event: "said"})); n != sealBytes+1+1+8+1+4 {
		t.Errorf("a record of an event of 4 bytes: got %d bytes", n)
	}
	do, pages := counted(t)
	append2 := func(key string) int64 {
		do(1, func(p *Plan) {
			for _, topic := range []string{"a", "b"} {
				if _, _, err := p.Append(topic, store.Message{Event: "said", Key: key}, store.Retention{}); err != nil {
					t.Fatal(err)
				}
			}
		})
		return pages()
	}
	for i := range 20 {
		append2(fmt.Sprintf("%0200d", i)) // until keys are on pages of their own
	}
	if without, with := append2(""), append2("k"); without >= with {
		t.Errorf("without a key %d pages are written, with one %d", without, with)
	}
}
