package nats

import (
	"context"
	"errors"
	"math"

	"github.com/go-chime/chime/store"
)

// newest reads the newest messages before an offset.
func (v *view) newest(ctx context.Context, r store.Range) (page store.Page, err error) {
	oldest, err := v.ends(ctx)
	if err != nil {
		return page, err
	}
	page.Top = v.last.top()
	if !v.known {
		page.Complete = true
		return page, nil
	}
	if oldest == nil {
		return page, errBehind
	}
	beyond, err := v.beyond(ctx, r.Before)
	if err != nil {
		return page, err
	}
	n := newNewest(v, r, oldest)
	want := uint64(math.MaxInt32)
	if r.Limit > 0 {
		want = uint64(r.Limit) + 1 // one more shows whether there are
	}
	for extra := uint64(0); ; extra += 16 {
		count := min(beyond+want+extra, n.retained)
		s, err := n.scan(ctx, count)
		if err != nil {
			return page, err
		}
		if last := len(s.list); last > 0 {
			page.Top = max(page.Top, s.list[last-1].top())
		}
		if n.leavesRoom(s, count) {
			continue
		}
		list, aged := n.messages(s)
		if count < n.retained && !aged && uint64(len(list)) < want { // marks and erased ones took room
			continue
		}
		cut := len(list) - fit(list, r)
		page.Messages, page.More = list[cut:], cut > 0
		page.Complete = n.isWhole() && !aged
		return page, nil
	}
}

// ends reads where the topic ends, and the oldest that is stored of it, nil if there is nothing.
func (v *view) ends(ctx context.Context) (*record, error) {
	first := make(chan error, 1)
	var oldest []record
	v.history.site.tasks.Go(func() {
		var err error
		oldest, _, err = v.calls.direct(ctx, v.stream.name, question{Seq: 1, Next: v.subject, Batch: 1})
		first <- err
	})
	err := v.end(ctx)
	if err := errors.Join(<-first, err); err != nil || len(oldest) == 0 {
		return nil, err
	}
	return &oldest[0], nil
}

// newest is a search for the newest messages before an offset.
type newest struct {
	view     *view
	r        store.Range
	oldest   *record
	begin    known  // of what is stored
	keep     uint64 // how many are kept, at most
	retained uint64 // how many of those stored are for readers, with marks
}

func newNewest(v *view, r store.Range, oldest *record) *newest {
	n := &newest{view: v, r: r, oldest: oldest, begin: known{oldest.Offset, oldest.pending + 1}}
	n.keep = n.begin.count
	if v.last.keep.Keep > 0 {
		n.keep = uint64(v.last.keep.Keep)
	}
	n.retained = min(n.begin.count, n.keep)
	return n
}

// scan reads from where there are count messages.
func (n *newest) scan(ctx context.Context, count uint64) (*scan, error) {
	s := &scan{view: n.view}
	if err := n.view.reach(ctx, s, count, n.begin, n.r.Before); err != nil {
		return nil, err
	}
	if err := s.fresh(); err != nil {
		return nil, err
	}
	if err := s.check(); err != nil && (n.r.Before == 0 || n.r.Before > n.view.last.Offset) {
		return nil, err
	}
	return s, nil
}

// leavesRoom reports whether more than was read is for readers: marks are no messages.
func (n *newest) leavesRoom(s *scan, count uint64) bool {
	with := n.keep + marksIn(s.list)
	if with <= n.retained || count != n.retained || s.real() >= n.keep || n.retained >= n.begin.count {
		return false
	}
	n.retained = min(n.begin.count, with)
	return true
}

// messages are those of what was read that readers get, and whether some have aged.
func (n *newest) messages(s *scan) (list []store.Message, aged bool) {
	if n.view.last.keep.Keep > 0 {
		s.keepNewest(n.keep)
	}
	list, aged = n.view.messages(s.list, 0)
	for n.r.Before > 0 && len(list) > 0 && list[len(list)-1].Offset >= n.r.Before {
		list = list[:len(list)-1]
	}
	return list, aged
}

// isWhole reports whether nothing was forgotten before the oldest that is stored.
func (n *newest) isWhole() bool {
	o, before := n.oldest, n.r.Before
	return n.begin.count == n.retained && o.proven && o.Prev == 0 && !n.view.isAged(o) && (before == 0 || before > o.Prev)
}

// isAged reports whether a message has aged.
func (v *view) isAged(r *record) bool {
	limit := v.youngest()
	return !limit.IsZero() && !r.At.After(limit)
}

// beyond counts the messages from an offset on.
func (v *view) beyond(ctx context.Context, before uint64) (uint64, error) {
	if before == 0 || before > v.last.Offset {
		return 0, nil
	}
	list, _, err := v.calls.direct(ctx, v.stream.name, question{Seq: before, Next: v.subject, Batch: 1})
	if err != nil {
		return 0, err
	}
	if len(list) == 0 {
		return 0, errBehind
	}
	return list[0].pending + 1, nil
}

// reach reads from where there are count messages up to an offset, or to the end.
func (v *view) reach(ctx context.Context, s *scan, count uint64, begin known, before uint64) error {
	from := begin.offset
	if begin.count > count {
		from = v.last.back
		if from == 0 || count > stride+2 || before > 0 && before <= v.last.Offset {
			var err error
			if from, err = v.find(ctx, count, begin, known{v.last.Offset, 1}); err != nil {
				return err
			}
		}
	}
	for tried := false; ; {
		s.restart(from)
		if err := s.ask(ctx, int(min(count+count/4+2*stride, maxBatch)), minBytes); err != nil { //nolint:gosec // bounded
			return err
		}
		if len(s.list) == 0 {
			return errBehind
		}
		if s.list[0].pending+1 >= count || tried {
			break
		}
		// What the last message says of where to begin is not so any more.
		tried = true
		var err error
		if from, err = v.find(ctx, count, begin, known{v.last.Offset, 1}); err != nil {
			return err
		}
	}
	for !s.ended && (before == 0 || s.list[len(s.list)-1].Offset < before) {
		if err := s.ask(ctx, maxBatch, minBytes); err != nil {
			return err
		}
	}
	return nil
}

// fit returns how many of the newest messages r has fit.
func fit(list []store.Message, r store.Range) int {
	n, bytes := 0, 0
	for n < len(list) && (r.Limit <= 0 || n < r.Limit) {
		if bytes += len(list[len(list)-1-n].Payload); r.Bytes > 0 && bytes > r.Bytes && n > 0 {
			break
		}
		n++
	}
	return n
}
