package nats

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

// history reads what streams have. It asks a leader for the last message of a topic, which
// nobody else knows for sure, and any server for the others: an answer that does not reach
// the last is of one that is behind, and is asked for again.
//
// Round trips: one for where a topic ends, and for what follows a message that is stored, which
// is mostly so where a client comes back; two for the newest 64; a few more for a page far
// back in a long topic, or from an offset whose message is gone.
type history struct {
	site    *site
	streams *streams
	topics  *topics
	erased  *erasures
	backlog *backlog
}

// Epoch implements broker.History. Each stream has its own; this is that of the first.
func (h *history) Epoch() string { return h.streams.list[0].now.Load().epoch }

// Read implements broker.History.
func (h *history) Read(ctx context.Context, topic string, r store.Range) (store.Page, error) {
	page, err := h.read(ctx, topic, r)
	if err != nil {
		return store.Page{}, fmt.Errorf("read %q: %w", topic, err)
	}
	return page, nil
}

var (
	// errMoved is for a topic of which a part went while it was read.
	errMoved = errors.New("the history changes too fast to be read")
	// errBehind is for a server that does not have the last message yet.
	errBehind = errors.New("no server has what the leader has")
)

const (
	maxReads  = 12                   // how often a page is read that changes meanwhile
	patience  = 2 * time.Millisecond // before a server that is behind is asked again; it doubles
	mostPause = 100 * time.Millisecond
)

func (h *history) read(ctx context.Context, topic string, r store.Range) (store.Page, error) {
	end, wait := time.Now().Add(h.site.calls.giveUp), patience
	for moved := 0; ; {
		if ctx.Err() != nil {
			return store.Page{}, context.Cause(ctx)
		}
		v := h.view(topic)
		read := v.following
		if r.Newest {
			read = v.newest
		}
		page, err := read(ctx, r)
		page.Epoch = v.life.epoch
		if err == nil && v.stream.now.Load().epoch != page.Epoch { // what was read is no answer
			err = errMoved
		}
		switch {
		case err == nil:
			return page, nil
		case errors.Is(err, errBehind) && time.Now().Before(end):
			select {
			case <-time.After(wait):
			case <-ctx.Done():
			}
			wait = min(2*wait, mostPause)
			continue
		case errors.Is(err, errMoved) && moved < maxReads:
			moved++
			continue
		case errors.Is(err, errBehind), errors.Is(err, errMoved):
			err = fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
		}
		return store.Page{}, err
	}
}

// kept returns the message at an offset, if the topic still has it.
func (h *history) kept(ctx context.Context, topic string, offset uint64) (m store.Message, found bool, err error) {
	if offset == 0 || offset > math.MaxInt64 {
		return m, false, nil
	}
	page, err := h.read(ctx, topic, store.Range{After: offset - 1, Limit: 1})
	if err != nil || len(page.Messages) == 0 || page.Messages[0].Offset != offset {
		return m, false, err
	}
	return page.Messages[0], true, nil
}

// view is a topic while a page of it is read.
type view struct {
	history *history
	calls   *calls
	stream  *stream
	life    *life
	topic   string
	subject string
	last    record // the last message, or mark
	known   bool   // there is one
	first   uint64 // offset of the first message; 0 where the leader was not asked
}

func (h *history) view(topic string) view {
	v := view{history: h, calls: h.site.calls, stream: h.streams.of(topic), topic: topic}
	v.life = v.stream.now.Load()
	v.subject = v.life.subject(topic)
	return v
}

// end asks the leader where the topic ends, and where it begins: a server that is behind has
// what was forgotten.
func (v *view) end(ctx context.Context) (err error) {
	begin := make(chan error, 1)
	if v.life.config.Replicas > 1 {
		v.history.site.tasks.Go(func() {
			first, _, err := v.calls.at(ctx, v.stream.name, v.subject, 1)
			v.first = first.Offset
			begin <- err
		})
	} else {
		begin <- nil
	}
	v.last, v.known, err = v.calls.lastOf(ctx, v.stream.name, v.subject)
	err = errors.Join(err, <-begin)
	if err == nil && v.known && v.last.mark {
		if o := v.history.topics.of(v.topic); o != nil {
			o.mark(&v.last)
		}
	}
	return err
}

// topAlone reports whether r asks for no message.
func topAlone(r store.Range) bool { return r.After > math.MaxInt64 }

// following reads what follows an offset.
func (v *view) following(ctx context.Context, r store.Range) (page store.Page, err error) {
	if topAlone(r) {
		err := v.end(ctx)
		page.Top = v.last.top()
		return page, err
	}
	s := scan{view: v, from: max(r.After, 1)}
	want := r.Limit + 1 // one more shows whether there are
	if r.Limit <= 0 {
		want = math.MaxInt32
	}
	// Both at once: where the last message is does not change what follows an offset.
	first := make(chan error, 1)
	v.history.site.tasks.Go(func() { first <- s.ask(ctx, min(want+1, maxBatch), bytesFor(r.Bytes)) })
	err = v.end(ctx)
	if err := errors.Join(<-first, err); err != nil {
		return page, err
	}
	page.Top = v.last.top()
	if !v.known {
		page.Complete = r.After == 0 && !v.forgets()
		return page, nil
	}
	page.Complete, err = v.continues(ctx, &s, r.After)
	if err != nil {
		return page, err
	}
	over, err := v.skip(ctx, &s, r.After)
	if err != nil {
		return page, err
	}
	page.Complete = page.Complete && !over
	for {
		if err := s.check(); err != nil {
			return page, err
		}
		list, aged := v.messages(s.list, r.After)
		page.Complete = page.Complete && !aged
		full := len(list) >= want || r.Bytes > 0 && len(list) > 1 && sizeOf(list) > r.Bytes
		if full || s.ended {
			v.fill(&page, list, r)
			if n := len(s.list); n > 0 {
				page.Top = max(page.Top, s.list[n-1].top())
			}
			page.Complete = page.Complete && r.After <= page.Top
			return page, nil
		}
		if aged && len(list) == 0 {
			err = s.jump(ctx, v.youngest())
		} else {
			err = s.ask(ctx, min(want-len(list)+1, maxBatch), bytesFor(r.Bytes))
		}
		if err != nil {
			return page, err
		}
	}
}

// fill puts the oldest messages of a list into a page, as far as r has them fit.
func (v *view) fill(page *store.Page, list []store.Message, r store.Range) {
	n, bytes := 0, 0
	for n < len(list) && (r.Limit <= 0 || n < r.Limit) {
		if bytes += len(list[n].Payload); r.Bytes > 0 && bytes > r.Bytes && n > 0 {
			break
		}
		n++
	}
	page.Messages, page.More = list[:n:n], n < len(list)
}

// continues reports whether nothing between an offset and the first message of a scan is gone
// but what was erased. The scan has begun at the offset, or is begun again at the message
// before it.
func (v *view) continues(ctx context.Context, s *scan, after uint64) (bool, error) {
	if len(s.list) == 0 || s.list[0].Offset == after {
		// What is stored from a message on is whole: a topic loses its oldest first.
		return len(s.list) > 0 || after <= v.last.top() && after >= v.last.Offset, nil
	}
	if after > 0 {
		list, _, err := v.calls.direct(ctx, v.stream.name, question{MultiLast: []string{v.subject}, UpTo: after})
		if err != nil {
			return false, err
		}
		if len(list) > 0 {
			s.restart(list[0].Offset)
			if err := s.ask(ctx, maxBatch, bytesFor(0)); err != nil {
				return false, err
			}
			if len(s.list) == 0 || s.list[0].Offset != list[0].Offset {
				return false, errMoved
			}
			return true, nil
		}
	}
	first := &s.list[0] // of the topic
	switch {
	case !first.proven:
		return false, nil
	case first.Prev == 0: // it begins here; an offset before it is from before that
		return after == 0 && !v.forgets(), nil
	}
	return after >= first.Prev, nil
}

// forgets reports whether the topic may have been forgotten since the stream was made, and
// begun anew.
func (v *view) forgets() bool {
	age := v.life.config.MaxAge
	return age > 0 && v.life.clock.now().Sub(v.life.made) > age
}

// skip has a scan begin at what is retained, and reports whether something after an offset
// is not any more.
func (v *view) skip(ctx context.Context, s *scan, after uint64) (bool, error) {
	keep := uint64(max(v.last.keep.Keep, 0)) //nolint:gosec // not below 0
	if keep == 0 || len(s.list) == 0 {
		return false, nil
	}
	behind := s.list[0].pending + 1
	for i := range s.list {
		if r := &s.list[i]; r.Offset <= after || r.mark {
			behind--
		}
	}
	if behind <= keep {
		return false, nil
	}
	oldest := known{s.list[0].Offset, s.list[0].pending + 1}
	for with := keep; ; { // with marks, which are no messages
		from, err := v.find(ctx, with, oldest, known{v.last.Offset, 1})
		if err != nil {
			return true, err
		}
		s.restart(from)
		if err := s.ask(ctx, maxBatch, bytesFor(0)); err != nil {
			return true, err
		}
		if again := keep + marksIn(s.list); again > with && s.real() < keep && oldest.count > with {
			with = again
			continue
		}
		s.keepNewest(keep)
		return true, nil
	}
}

// marksIn counts the marks in a list.
func marksIn(list []record) (n uint64) {
	for i := range list {
		if list[i].mark {
			n++
		}
	}
	return n
}

// messages returns those of a list that are after an offset and kept, and whether some
// have aged.
func (v *view) messages(list []record, after uint64) (kept []store.Message, aged bool) {
	erased := map[uint64]bool{}
	for i := range list {
		if list[i].Erases != 0 {
			erased[list[i].Erases] = true
		}
	}
	limit, prev := v.youngest(), uint64(0)
	kept = make([]store.Message, 0, len(list))
	for i := range list {
		r := &list[i]
		before := prev
		prev = r.top()
		switch {
		case r.mark, r.Offset <= after:
			continue
		case erased[r.Offset]:
			v.history.backlog.repeat(v.life.epoch, v.topic, r.Offset)
			continue
		case v.history.erased.has(v.life.epoch, v.topic, r.Offset):
			continue
		case len(kept) == 0 && !limit.IsZero() && !r.At.After(limit):
			aged = true
			continue
		}
		m := r.Message
		if !r.proven {
			m.Prev = before
		}
		if n := len(kept); n > 0 && m.At.Before(kept[n-1].At) {
			m.At = kept[n-1].At
		}
		m.Erases = 0
		kept = append(kept, m)
	}
	return kept, aged
}

// youngest is the time of the youngest message that has aged, zero if none does.
func (v *view) youngest() time.Time {
	if v.last.keep.Age <= 0 {
		return time.Time{}
	}
	return v.life.clock.now().Add(-v.last.keep.Age)
}

func sizeOf(list []store.Message) (n int) {
	for i := range list {
		n += len(list[i].Payload)
	}
	return n
}
