package nats

import (
	"context"
	"errors"
	"math"

	"github.com/go-chime/chime/store"
)

// newest reads the newest messages before an offset.
func (v *view) newest(ctx context.Context, r store.Range) (page store.Page, err error) {
	first := make(chan error, 1)
	var oldest []record
	v.history.site.tasks.Go(func() {
		var err error
		oldest, _, err = v.calls.direct(ctx, v.stream.name, question{Seq: 1, Next: v.subject, Batch: 1})
		first <- err
	})
	err = v.end(ctx)
	if err := errors.Join(<-first, err); err != nil {
		return page, err
	}
	page.Top = v.last.top()
	if !v.known {
		page.Complete = true
		return page, nil
	}
	if len(oldest) == 0 {
		return page, errBehind
	}
	begin := known{oldest[0].Offset, oldest[0].pending + 1}
	beyond, err := v.beyond(ctx, r.Before)
	if err != nil {
		return page, err
	}
	keep := begin.count
	if v.last.keep.Keep > 0 {
		keep = uint64(v.last.keep.Keep)
	}
	retained := min(begin.count, keep)
	want := uint64(math.MaxInt32)
	if r.Limit > 0 {
		want = uint64(r.Limit) + 1 // one more shows whether there are
	}
	for extra := uint64(0); ; extra += 16 {
		count := min(beyond+want+extra, retained)
		s := scan{view: v}
		if err := v.reach(ctx, &s, count, begin, r.Before); err != nil {
			return page, err
		}
		if err := s.fresh(); err != nil {
			return page, err
		}
		if err := s.check(); err != nil && (r.Before == 0 || r.Before > v.last.Offset) {
			return page, err
		}
		if n := len(s.list); n > 0 {
			page.Top = max(page.Top, s.list[n-1].top())
		}
		if with := keep + marksIn(s.list); with > retained && count == retained && s.real() < keep && retained < begin.count {
			retained = min(begin.count, with) // marks are no messages
			continue
		}
		if v.last.keep.Keep > 0 {
			s.keepNewest(keep)
		}
		list, aged := v.messages(s.list, 0)
		for r.Before > 0 && len(list) > 0 && list[len(list)-1].Offset >= r.Before {
			list = list[:len(list)-1]
		}
		if count < retained && !aged && uint64(len(list)) < want { // marks and erased ones took room
			continue
		}
		cut := len(list) - fit(list, r)
		page.Messages, page.More = list[cut:], cut > 0
		o := &oldest[0]
		page.Complete = begin.count == retained && o.proven && o.Prev == 0 && !aged && !v.isAged(o) && (r.Before == 0 || r.Before > o.Prev)
		return page, nil
	}
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
