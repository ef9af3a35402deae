package fanout

import (
	"context"

	"github.com/go-chime/chime/store"
)

// seek reads where a join begins. Of a crowd that wants the same one reads the
// history, and the others find it in the tail. What can't be read is left out.
func (r *reader) seek(ctx context.Context, want Want) (Start, error) {
	f := r.feed
	if err := r.claim(ctx); err != nil {
		return r.unread(), err
	}
	defer r.release()
	if start, ok := f.find(want); ok { // it has waited for whoever read it
		return start, nil
	}
	var failed error
	if !f.tail.known() {
		// Most joins want no more, and a position is mostly near the top.
		if _, _, failed = r.read(ctx, store.Range{Newest: true, Limit: max(r.first, want.Last), Bytes: maxReplayBytes}); failed == nil {
			if start, ok := f.find(want); ok {
				return start, nil
			}
		}
	}
	if s := want.Since; s != nil && (!f.tail.known() || f.tail.mayRecover(*s)) {
		_, page, err := r.read(ctx, store.Range{After: s.Offset, Limit: MaxReplay, Bytes: maxReplayBytes})
		switch {
		case err != nil:
			failed = err // but the newest may be what can be read
		case page.Epoch != s.Epoch:
		case page.Complete && !page.More:
			f.tail.judge(s.Offset, true)
			return Start{Position: *s, Recovered: true}, nil
		case s.Offset <= page.Top && page.Epoch == f.tail.epoch:
			f.tail.judge(s.Offset, false)
		}
	}
	if start, ok := f.find(Want{Last: want.Last}); ok {
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

// unread is where a join begins without a history: with what comes now.
func (r *reader) unread() Start {
	tail := &r.feed.tail
	start := Start{Position: store.Position{Epoch: tail.epoch, Offset: tail.top}, Unread: true}
	if !tail.known() {
		start.Epoch = r.history.Epoch()
	}
	return start
}
