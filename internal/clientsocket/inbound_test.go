package clientsocket

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

// hearing notes the refs of what it receives.
type hearing struct{ refs *[]string }

func (h hearing) Receive(f wire.Frame)               { *h.refs = append(*h.refs, f.Ref.String()) }
func (hearing) Finish(time.Duration) <-chan struct{} { return nil }
func (hearing) Closed(transport.Reason)              {}

// numbered is a batch of frames whose refs are their numbers.
func numbered(first uint64, count int) wire.Batch {
	b := wire.Batch{First: first}
	for i := range count {
		b.Frames = append(b.Frames, wire.Frame{Ref: wire.RefOf(fmt.Sprint(int(first) + i)), Topic: "room:1", Event: "say", Payload: []byte("{}")})
	}
	return b
}

func decoded(b wire.Batch) func() (wire.Batch, error) {
	return func() (wire.Batch, error) { return b, nil }
}

func TestABatchIsAppliedOnceAndWithoutGaps(t *testing.T) {
	var refs []string
	cs := clients(t, transport.Limits{}, func(transport.ClientSocket) transport.Receiver { return hearing{&refs} })
	c, _ := cs.open(t, taking{}, Opening{Dialect: stats.Chime})
	secret := c.out.credentials.current
	for _, step := range []struct {
		name    string
		secret  string
		batch   wire.Batch
		applied uint64
		err     error
		heard   int
	}{
		{"the first", secret, numbered(1, 3), 3, nil, 3},
		{"again", secret, numbered(1, 3), 3, nil, 3},
		{"overlapping", secret, numbered(2, 4), 5, nil, 5},
		{"with a gap", secret, numbered(7, 1), 0, &GapError{6}, 5},
		{"of an unknown secret", "guess", numbered(6, 1), 0, ErrUnknown, 5},
		{"that acknowledges what was not sent", secret, wire.Batch{First: 6, Received: 1}, 0, ErrBeyond, 5},
		{"the next", secret, numbered(6, 1), 6, nil, 6},
	} {
		got, err := c.Apply(step.secret, decoded(step.batch))
		if gap, ok := errors.AsType[*GapError](step.err); ok {
			if got, ok := errors.AsType[*GapError](err); !ok || *got != *gap {
				t.Errorf("%s: got %v, want %v", step.name, err, gap)
			}
		} else if !errors.Is(err, step.err) {
			t.Errorf("%s: got %v, want %v", step.name, err, step.err)
		}
		if got.Applied != step.applied || len(refs) != step.heard {
			t.Errorf("%s: got %d applied and %d heard, want %d and %d", step.name, got.Applied, len(refs), step.applied, step.heard)
		}
	}
	if want := []string{"1", "2", "3", "4", "5", "6"}; !slices.Equal(refs, want) {
		t.Errorf("heard %q, want %q", refs, want)
	}
	c.Close(wire.CloseNormal, "bye", transport.Closed)
	if _, err := c.Apply(secret, decoded(numbered(7, 1))); !errors.Is(err, ErrUnknown) {
		t.Errorf("after the end: got %v, want %v", err, ErrUnknown)
	}
}
