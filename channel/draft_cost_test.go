package channel

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

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
