package channels

import (
	"context"
	"iter"

	"github.com/go-chime/chime/channel"
)

// Oracle has a model answer, for all who are in the topic.
type Oracle struct {
	channel.AnyoneMayJoin
	channel.NothingOnLeave
	answer func(ctx context.Context, question string) iter.Seq2[string, error]
}

// HandleMessage knows two events.
func (o *Oracle) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	var in struct{ Text, Draft string }
	if err := m.Decode(&in); err != nil {
		return nil, err
	}
	switch m.Event {
	case "ask":
		id, err := s.Draft(ctx, "message_new", map[string]string{"from": "oracle"}, func(ctx context.Context, d *channel.Draft) error {
			for piece, err := range o.answer(ctx, in.Text) {
				if err != nil {
					return err
				}
				if err := d.Append(piece); err != nil {
					return err
				}
			}
			return nil
		})
		return map[string]string{"draft": id}, err
	case "stop": // whoever asked
		return nil, s.StopDraft(ctx, in.Draft)
	}
	return nil, channel.Refuse("unknown event")
}
