package nats

import (
	"context"
	"time"
)

const (
	maxBatch = 512     // messages of one answer
	minBytes = 1 << 20 // that one answer may have, or more
)

// bytesFor is how many bytes an answer may have for a page of so many.
func bytesFor(page int) int { return max(minBytes, 2*page) }

// scan reads the messages of a topic from an offset on. Each answer of a server is of one
// moment, and begins at the last message of the one before: so together they have no hole,
// also if parts of the topic are deleted meanwhile.
type scan struct {
	view  *view
	from  uint64
	list  []record
	ended bool // there are no more
	past  bool // nor is the last message looked for: it has aged
}

// restart begins anew at an offset.
func (s *scan) restart(from uint64) { *s = scan{view: s.view, from: from} }

// ask reads up to n more.
func (s *scan) ask(ctx context.Context, n, bytes int) error {
	if len(s.list) > 0 {
		s.from = s.list[len(s.list)-1].Offset
		n++
	}
	list, pending, err := s.view.calls.direct(ctx, s.view.stream.name, question{Seq: s.from, Next: s.view.subject, Batch: min(n, maxBatch), MaxBytes: bytes})
	if err != nil {
		return err
	}
	if len(s.list) > 0 {
		if len(list) == 0 || list[0].Offset != s.from {
			return errMoved
		}
		list = list[1:]
	}
	s.list = append(s.list, list...)
	s.ended = pending == 0
	return nil
}

// jump begins anew at what was stored after a time.
func (s *scan) jump(ctx context.Context, t time.Time) error {
	from := uint64(0)
	if n := len(s.list); n > 0 {
		from = s.list[n-1].Offset
	}
	s.restart(0)
	list, pending, err := s.view.calls.direct(ctx, s.view.stream.name, question{StartTime: &t, Next: s.view.subject, Batch: maxBatch, MaxBytes: minBytes})
	if err != nil {
		return err
	}
	for len(list) > 0 && list[0].Offset <= from { // where a time was given that is older
		list = list[1:]
	}
	if len(list) == 0 && pending == 0 && s.view.last.stored.After(t) {
		return errBehind
	}
	s.past = true
	if len(list) == 0 && pending > 0 {
		s.restart(from + 1)
		return s.ask(ctx, maxBatch, minBytes)
	}
	s.list, s.ended = list, pending == 0
	return nil
}

// check returns errBehind if there are no more, but the last message of the topic is not
// there.
func (s *scan) check() error {
	if err := s.fresh(); err != nil {
		return err
	}
	if !s.ended || s.past || !s.view.known || s.from > s.view.last.Offset {
		return nil
	}
	if n := len(s.list); n > 0 && s.list[n-1].Offset >= s.view.last.Offset {
		return nil
	}
	return errBehind
}

// fresh returns errBehind if a message is there that the leader has no more.
func (s *scan) fresh() error {
	if len(s.list) > 0 && s.list[0].Offset < s.view.first {
		return errBehind
	}
	return nil
}

// real counts the messages of the topic from where the list begins, without the marks in it.
func (s *scan) real() uint64 {
	if len(s.list) == 0 {
		return 0
	}
	return s.list[0].pending + 1 - marksIn(s.list)
}

// keepNewest drops what is beyond the newest n of the topic.
func (s *scan) keepNewest(n uint64) {
	for len(s.list) > 0 && s.real() > n {
		s.list = s.list[1:]
	}
}

// known is a message, and how many there are from it on.
type known struct{ offset, count uint64 }

// find returns where there are count messages from there on, or some more: between two known
// ones, of which the older has more and the newer fewer.
func (v *view) find(ctx context.Context, count uint64, older, newer known) (uint64, error) {
	const steps = 48
	slack := max(16, count/4)
	for step := range steps {
		if older.count <= count+slack || newer.offset <= older.offset+1 {
			break
		}
		span := newer.offset - older.offset
		guess := older.offset + span/2
		if step%3 != 2 { // as if the messages were spread evenly; else a half, for those that are not
			aim := min(count+slack/2, older.count)
			back := float64(aim-min(aim, newer.count)) / float64(max(older.count-min(older.count, newer.count), 1))
			guess = newer.offset - uint64(back*float64(span))
		}
		guess = min(max(guess, older.offset+1), newer.offset)
		list, _, err := v.calls.direct(ctx, v.stream.name, question{Seq: guess, Next: v.subject, Batch: 1})
		if err != nil {
			return 0, err
		}
		if len(list) == 0 {
			return 0, errBehind
		}
		at := known{list[0].Offset, list[0].pending + 1}
		if at.count >= count {
			older = at
		} else {
			newer = known{guess, at.count}
		}
	}
	return older.offset, nil
}
