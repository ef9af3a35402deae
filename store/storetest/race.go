package storetest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-chime/chime/store"
)

func race(t *testing.T, s store.Store) {
	const topics, appenders, each = 3, 8, 50
	var announced [topics][]store.Message // one topic's without a lock of ours: the race detector sees two at a time
	var wg sync.WaitGroup
	for w := range appenders {
		wg.Go(func() {
			for i := range each {
				for k := range topics {
					_, err := s.Append(t.Context(), fmt.Sprint(k), text(fmt.Sprint(w, i)), everything, func(m store.Message) {
						announced[k] = append(announced[k], m)
					})
					if err != nil {
						t.Errorf("append: %v", err)
					}
				}
			}
		})
	}
	wg.Wait()

	given := map[uint64]bool{}
	for k, messages := range announced {
		said, top := map[string]bool{}, uint64(0)
		for _, m := range messages {
			if m.Offset <= top || m.Prev != top {
				t.Fatalf("topic %d: announced %s after offset %d", k, show(m), top)
			}
			if given[m.Offset] {
				t.Fatalf("topic %d: offset %d was given twice", k, m.Offset)
			}
			given[m.Offset], said[string(m.Payload)], top = true, true, m.Offset
		}
		if len(said) != appenders*each {
			t.Errorf("topic %d: got %d different messages, want %d", k, len(said), appenders*each)
		}
		wantPage(t, s, fmt.Sprint(k), all, page(messages...))
	}
}

func announcedIsRead(t *testing.T, s store.Store) {
	const n = 200
	announced := make(chan store.Message, n)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(announced)
		for i := range n {
			if _, err := s.Append(t.Context(), "a", text(fmt.Sprint(i)), everything, func(m store.Message) { announced <- m }); err != nil {
				t.Errorf("append: %v", err)
			}
		}
	})
	for m := range announced {
		p := read(t, s, "a", store.Range{After: m.Prev, Limit: 1})
		if d := diff(p.Messages, []store.Message{m}); d != "" || p.Top < m.Offset || !p.Complete {
			t.Errorf("read on the announcement of %s: top %d, complete %t; %s", show(m), p.Top, p.Complete, d)
		}
	}
	wg.Wait()
}

// noGap has readers follow a topic that is trimmed and forgotten under them. A
// complete page must go on exactly where the reader was.
func noGap(t *testing.T, s store.Store) {
	const appenders, each, readers = 4, 200, 3
	var writing, reading sync.WaitGroup
	var done atomic.Bool
	for range appenders {
		writing.Go(func() {
			for i := range each {
				if _, err := s.Append(t.Context(), "a", text("x"), store.Retention{Keep: 20}, nil); err != nil {
					t.Errorf("append: %v", err)
				}
				if i%50 == 0 {
					if err := s.Forget(t.Context(), "a"); err != nil {
						t.Errorf("forget: %v", err)
					}
				}
			}
		})
	}
	for range readers {
		reading.Go(func() {
			for pos, last := uint64(0), false; ; {
				finish := done.Load()
				p, err := s.Read(t.Context(), "a", store.Range{After: pos, Limit: 7})
				if err != nil {
					t.Errorf("read: %v", err)
					return
				}
				if p.Top < pos {
					t.Errorf("top: got %d after a message at %d", p.Top, pos)
				}
				if !p.Complete {
					was := pos
					pos = p.Top // as a client does that learns of it
					if len(p.Messages) > 0 {
						pos = p.Messages[0].Prev
					}
					if pos <= was {
						t.Errorf("incomplete page after offset %d: got on to %d, want beyond", was, pos)
					}
				} else {
					for _, m := range p.Messages {
						if m.Prev != pos || m.Offset <= pos {
							t.Errorf("complete page: got %s behind offset %d", show(m), pos)
						}
						pos = m.Offset
					}
					if !p.More && pos != p.Top {
						t.Errorf("complete page, no more: got to %d, want the top %d", pos, p.Top)
					}
				}
				if last && pos == p.Top || t.Failed() {
					return
				}
				last = finish
			}
		})
	}
	writing.Wait()
	done.Store(true)
	reading.Wait()
}
