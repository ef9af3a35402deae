package fanout

import (
	"context"

	"github.com/go-chime/chime/store"
)

// seek reads where a join begins. Of a crowd that wants the same one reads the
// history, and the others find it in the tail. What can't be read is left out.
func (r *reader) seek(ctx context.Context, want Want) (Start, error) {
	if err := r.claim(ctx); err != nil {
		return r.unread(), err
	}
	defer r.release()
	locked := func(want Want) (Start, bool) {
		r.topic.mu.Lock()
		defer r.topic.mu.Unlock()
		return r.topic.find(want)
	}
	if start, ok := locked(want); ok { // it has waited for whoever read it
		return start, nil
	}
	var failed error
	if !r.known() {
		// Most joins want no more, and a position is mostly near the top.
		if _, _, failed = r.read(ctx, store.Range{Newest: true, Limit: max(r.first, want.Last), Bytes: maxReplayBytes}); failed == nil {
			if start, ok := locked(want); ok {
				return start, nil
			}
		}
	}
	if want.Since != nil && r.mayRecover(*want.Since) {
		_, page, err := r.read(ctx, store.Range{After: want.Since.Offset, Limit: MaxReplay, Bytes: maxReplayBytes})
		if err == nil && page.Epoch == want.Since.Epoch {
			if page.Complete && !page.More {
				return Start{Position: *want.Since, Recovered: true}, nil
			}
			r.raise(want.Since.Offset, page)
		}
		if err != nil {
			failed = err // but the newest may be what can be read
		}
	}
	newest := Want{Last: want.Last}
	if start, ok := locked(newest); ok {
		return start, failed
	}
	if want.Last > 0 {
		_, page, err := r.read(ctx, store.Range{Newest: true, Limit: want.Last, Bytes: maxReplayBytes})
		if err == nil {
			start := Start{Position: store.Position{Epoch: page.Epoch, Offset: page.Top}}
			if len(page.Messages) > 0 {
				start.Offset = page.Messages[0].Offset - 1
			}
			return start, failed
		}
		failed = err
	}
	_, page, err := r.read(ctx, topAlone)
	if err != nil {
		return r.unread(), err
	}
	return Start{Position: store.Position{Epoch: page.Epoch, Offset: page.Top}, Unread: want.Last > 0}, failed
}

func (r *reader) known() bool {
	r.topic.mu.Lock()
	defer r.topic.mu.Unlock()
	return r.topic.tail.known()
}

// mayRecover reports whether it is worth reading what follows a position.
func (r *reader) mayRecover(p store.Position) bool {
	r.topic.mu.Lock()
	defer r.topic.mu.Unlock()
	return !r.topic.tail.known() || p.Epoch == r.topic.tail.epoch && p.Offset >= r.topic.tail.floor
}

// raise notes that nothing up to a position can be recovered, so that a crowd
// does not read the history once for each.
func (r *reader) raise(offset uint64, page store.Page) {
	r.topic.mu.Lock()
	defer r.topic.mu.Unlock()
	if offset <= page.Top && page.Epoch == r.topic.tail.epoch {
		r.topic.tail.floor = max(r.topic.tail.floor, offset+1)
	}
}

// unread is where a join begins without a history: with what comes now.
func (r *reader) unread() Start {
	r.topic.mu.Lock()
	defer r.topic.mu.Unlock()
	start := Start{Position: store.Position{Epoch: r.topic.tail.epoch, Offset: r.topic.tail.top}, Unread: true}
	if !r.topic.tail.known() {
		start.Epoch = r.history.Epoch()
	}
	return start
}
