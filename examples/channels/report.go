package channels

import (
	"context"

	"github.com/go-chime/chime/channel"
)

// Report answers when its work is done.
type Report struct {
	channel.AnyoneMayJoin
	channel.NothingOnLeave
	jobs chan func()
}

// HandleMessage hands the work on.
func (c *Report) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	c.jobs <- func() {
		total, err := sum(ctx, m)
		_ = s.Reply(m, total, err) // ErrLeft: the client no longer waits for it
	}
	return channel.Later, nil
}

func sum(ctx context.Context, m channel.Message) (any, error) {
	var numbers []int
	if err := m.Decode(&numbers); err != nil {
		return nil, err
	}
	total := 0
	for _, n := range numbers {
		total += n
	}
	return map[string]int{"total": total}, ctx.Err()
}
