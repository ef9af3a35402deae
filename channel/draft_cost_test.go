package channel

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/broker/brokertest"
	"github.com/go-chime/chime/broker/local"
	"github.com/go-chime/chime/internal/fanout"
	"github.com/go-chime/chime/store"
)

// Who joins while a draft grows is sent what there is of it once, in no more than 1.1
// times its bytes, and who watched is sent far fewer frames than there were appends.
func TestAJoinerIsSentADraftOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const tokens, every = 10_000, time.Millisecond
		h, ann := stageOn(t, store.NewMemory(), &scripted{}, History{Keep: 10})
		ann.says(t, `["1","1","a","phx_join",{}]`)
		synctest.Wait()
		ann.takes()
		var mu sync.Mutex // guards text
		var text strings.Builder
		_, err := h.Draft(t.Context(), "a", "answer", nil, func(ctx context.Context, d *Draft) error {
			for n := range tokens {
				token := fmt.Sprintf("token %d, ", n)
				mu.Lock()
				text.WriteString(token)
				mu.Unlock()
				if err := d.Append(token); err != nil {
					t.Error(err)
				}
				time.Sleep(every)
			}
			<-ctx.Done()
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		var joiners []*reader
		for n := range 5 {
			time.Sleep(tokens * every / 5)
			synctest.Wait()
			r := newReader(h, fmt.Sprint("joiner-", n))
			joiners = append(joiners, r)
			r.says(t, `["1","1","a","phx_join",{}]`)
			synctest.Wait()
			sent := r.takes()[1:] // without the reply
			mu.Lock()
			if got, most := len(strings.Join(sent, "")), text.Len()*11/10; len(sent) != 1 || got > most {
				t.Errorf("joiner %d: sent %d frames of %d bytes for a text of %d, want 1 of at most %d", n, len(sent), got, text.Len(), most)
			}
			mu.Unlock()
		}
		if n, most := len(ann.takes()), int(tokens*every/deltaEvery)+1; n > most {
			t.Errorf("%d appends in %v are %d frames, want at most %d", tokens, tokens*every, n, most)
		}
		for _, r := range append(joiners, ann) {
			r.Close(0, "", Closed)
		}
		if err := h.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// telling is a broker that counts what is told of drafts.
type telling struct {
	broker.Broker
	mu            sync.Mutex // guards what follows
	pieces, bytes int
}

func (b *telling) Publish(ctx context.Context, p broker.Publication, keep *store.Retention) (store.Position, error) {
	if p.Event == fanout.EventDraft {
		b.mu.Lock()
		b.pieces++
		b.bytes += len(p.Payload)
		b.mu.Unlock()
	}
	return b.Broker.Publish(ctx, p, keep)
}

// since returns what was told since the last time.
func (b *telling) since() (pieces, bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	pieces, bytes = b.pieces, b.bytes
	b.pieces, b.bytes = 0, 0
	return pieces, bytes
}

// What other nodes are told of a draft is its text, a few times a second, and once a second
// that there is no more of it; to one that misses something it is told again, however often it
// says so. In one process nobody is told anything.
func TestWhatADraftCostsABroker(t *testing.T) {
	for _, nodes := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			engine := brokertest.NewEngine(local.New(store.NewMemory()))
			b, other := &telling{Broker: engine.Node()}, engine.Node()
			if nodes == 1 {
				b.Broker = local.New(store.NewMemory())
			}
			h := NewHub(Config{Broker: b})
			h.Channel("{topic}", &scripted{}, History{Keep: 10})
			tokens := make(chan string)
			id, err := h.Draft(t.Context(), "a", "answer", nil, func(_ context.Context, d *Draft) error {
				for token := range tokens {
					if err := d.Append(token); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			size := 0
			for n := range 10_000 { // in 10 s
				token := fmt.Sprintf("token %d, ", n)
				tokens <- token
				size += len(token)
				time.Sleep(time.Millisecond)
			}
			pieces, bytes := b.since()
			if most := size + pieces*90; nodes == 2 && (pieces < 200 || pieces > 252 || bytes > most) || nodes == 1 && pieces > 0 {
				t.Errorf("%d nodes: while it grows %d pieces are told, of %d bytes, want 200 to 252 of at most %d", nodes, pieces, bytes, most)
			}
			time.Sleep(10 * time.Second) // in which the end of the text is told too
			if pieces, bytes := b.since(); nodes == 2 && (pieces < 9 || pieces > 11 || bytes > 1000+pieces*90) || nodes == 1 && pieces > 0 {
				t.Errorf("%d nodes: while it pauses %d pieces are told, of %d bytes, want 9 to 11", nodes, pieces, bytes)
			}
			if nodes == 2 {
				for range 100 { // in 1 s
					p, err := fanout.Piece{By: "other", Draft: id, Wants: true}.Encode()
					if err != nil {
						t.Fatal(err)
					}
					if _, err := other.Publish(t.Context(), broker.Publication{Topic: "a", Message: store.Message{Event: fanout.EventDraft, Payload: p}}, nil); err != nil {
						t.Fatal(err)
					}
					time.Sleep(10 * time.Millisecond)
				}
				if _, bytes := b.since(); bytes < 4*size || bytes > 6*size {
					t.Errorf("a node that misses all of it, again and again, is told %d bytes in a second, want some 4 times the %d", bytes, size)
				}
			}
			close(tokens)
			if err := h.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
