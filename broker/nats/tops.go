package nats

import (
	"context"
	"fmt"

	"github.com/go-chime/chime/store"
)

// maxTops is how many topics are asked for in one request; a server answers 1,024 at most.
const maxTops = 500

// Tops implements broker.Tops: a request for 500 topics of a stream. Any server answers, which
// may be behind by a moment.
func (h *history) Tops(ctx context.Context, topics []string) ([]store.Position, error) {
	tops := make([]store.Position, len(topics))
	for _, s := range h.streams.list {
		l := s.now.Load()
		where := map[string][]int{}
		var subjects []string
		for i, topic := range topics {
			if h.streams.of(topic) != s {
				continue
			}
			tops[i].Epoch = l.epoch
			subject := l.subject(topic)
			if where[subject] == nil {
				subjects = append(subjects, subject)
			}
			where[subject] = append(where[subject], i)
		}
		for len(subjects) > 0 {
			n := min(len(subjects), maxTops)
			if err := h.tops(ctx, s, subjects[:n], where, tops); err != nil {
				return nil, fmt.Errorf("where %d topics end: %w", len(topics), err)
			}
			subjects = subjects[n:]
		}
	}
	return tops, nil
}

// tops fills in where some topics of a stream end.
func (h *history) tops(ctx context.Context, s *stream, subjects []string, where map[string][]int, tops []store.Position) error {
	for after := uint64(0); ; {
		// They come in the order of their sequences; an answer ends before it is too large.
		list, pending, err := h.site.calls.direct(ctx, s.name, question{Seq: after, MultiLast: subjects, MaxBytes: 4 * minBytes})
		if err != nil {
			return err
		}
		for i := range list {
			for _, at := range where[list[i].subject] {
				tops[at].Offset = list[i].top()
			}
			after = list[i].Offset + 1
		}
		if pending == 0 || len(list) == 0 {
			return nil
		}
	}
}
