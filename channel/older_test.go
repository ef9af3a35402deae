package channel

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"slices"
	"testing"

	"github.com/go-chime/chime/broker/local"
	"github.com/go-chime/chime/store"
)

func TestHistoryBefore(t *testing.T) {
	h := NewHub(Config{Broker: local.New(store.NewMemory()), Log: slog.New(slog.DiscardHandler)})
	h.Channel("{topic}", &silent{}, History{Keep: 4})
	h.Channel("silent:{id}", &silent{})
	broadcast(t, h, 6)
	epoch := h.history.Epoch()
	for _, c := range []struct {
		name   string
		before store.Position
		n      int
		want   []uint64
		more   bool
	}{
		{"the zero position", store.Position{}, 2, []uint64{5, 6}, true},
		{"an offset of 0 in this epoch", store.Position{Epoch: epoch}, 2, []uint64{5, 6}, true},
		{"this epoch", store.Position{Epoch: epoch, Offset: 5}, 1, []uint64{4}, true},
		{"whichever epoch", store.Position{Offset: 5}, 9, []uint64{3, 4}, false},
		{"what is lost", store.Position{Offset: 2}, 9, nil, false},
		{"beyond the top", store.Position{Offset: math.MaxUint64}, math.MaxInt, []uint64{3, 4, 5, 6}, false},
		{"another epoch", store.Position{Epoch: "another", Offset: 5}, 9, nil, false},
	} {
		page, err := h.HistoryBefore(t.Context(), "a", c.before, c.n)
		var got []uint64
		for _, m := range page.Messages {
			got = append(got, m.Offset)
		}
		if err != nil || !slices.Equal(got, c.want) || page.More != c.more || page.Complete || page.Epoch != epoch || page.Top != 6 {
			t.Errorf("before %s: got %v and %v, more %t, complete %t of epoch %q up to %d, want %v, more %t, not complete", c.name, got, err, page.More, page.Complete, page.Epoch, page.Top, c.want, c.more)
		}
	}
	for _, n := range []int{0, -1} {
		if _, err := h.HistoryBefore(t.Context(), "a", store.Position{}, n); err == nil {
			t.Errorf("%d messages: got no error", n)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for topic, want := range map[string]error{"a": context.Canceled, "silent:1": ErrNoHistory, "no:such:topic": ErrNoChannel} {
		if _, err := h.HistoryBefore(ctx, topic, store.Position{}, 1); !errors.Is(err, want) {
			t.Errorf("of %s: got %v, want %v", topic, err, want)
		}
	}
}
