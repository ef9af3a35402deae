package tree

import (
	"errors"
	"testing"

	"github.com/go-chime/chime/store"
)

// What is taken back must go on a file that is full too.
func TestAFullFileTakesWhatErases(t *testing.T) {
	do := planned(t)
	do(1, func(p *Plan) {
		m, _, err := p.Append("a", store.Message{Event: "said"}, store.Retention{})
		if err != nil {
			t.Fatal(err)
		}
		p.Bound(Bounds{Full: true})
		if _, _, err := p.Append("a", store.Message{Event: "said"}, store.Retention{}); !errors.Is(err, store.ErrFull) {
			t.Errorf("append: got %v, want %v", err, store.ErrFull)
		}
		for _, erases := range []uint64{m.Offset, store.All} {
			if _, anew, err := p.Append("a", store.Message{Event: "taken back", Erases: erases}, store.Retention{}); err != nil || !anew {
				t.Errorf("append of what erases %d: got new %t, %v", erases, anew, err)
			}
		}
		for topic, erases := range map[string]uint64{"a": m.Offset, "b": store.All} {
			if _, _, err := p.Append(topic, store.Message{Erases: erases}, store.Retention{}); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("append to %s of what erases %d: got %v, want %v", topic, erases, err, store.ErrNotFound)
			}
		}
		if n := p.Known(); n != 1 {
			t.Errorf("got %d topics, want 1: what erases nothing begins none", n)
		}
	})
}
