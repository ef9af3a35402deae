package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	client "github.com/nats-io/nats.go"
)

// question is what a direct get asks of a stream. Any of its servers answers, which may be
// behind the leader by a moment.
type question struct {
	Seq       uint64     `json:"seq,omitempty"`
	Next      string     `json:"next_by_subj,omitempty"`
	Batch     int        `json:"batch,omitempty"`
	MaxBytes  int        `json:"max_bytes,omitempty"`
	StartTime *time.Time `json:"start_time,omitempty"`
	MultiLast []string   `json:"multi_last,omitempty"`
	UpTo      uint64     `json:"up_to_seq,omitempty"`
}

// direct asks a stream, and returns messages as they were at one moment, with how many follow
// them.
func (c *calls) direct(ctx context.Context, stream string, q question) (list []record, pending uint64, err error) {
	body, err := json.Marshal(q)
	if err != nil {
		return nil, 0, err
	}
	err = c.again(ctx, false, func(ctx context.Context) error {
		list, pending = nil, 0
		return c.gather(ctx, &client.Msg{Subject: "$JS.API.DIRECT.GET." + stream, Data: body}, func(m *client.Msg) (bool, error) {
			switch status := text(m.Header, headerStatus); status {
			case "":
				r, err := recordOf(m)
				list = append(list, r)
				return err != nil, err
			case "204":
				pending = uint64Of(last(m.Header, headerPending))
				return true, nil
			case "404":
				return true, nil
			default:
				return true, fmt.Errorf("the stream %s answers %s %s", stream, status, text(m.Header, headerStatusText))
			}
		})
	})
	return list, pending, err
}

// lastOf asks the leader of a stream for the last message of a subject. All that was
// acknowledged before is counted.
func (c *calls) lastOf(ctx context.Context, stream, subject string) (r record, found bool, err error) {
	return c.lead(ctx, stream, map[string]any{"last_by_subj": subject})
}

// at asks the leader for the message at an offset, and the subject it has.
func (c *calls) at(ctx context.Context, stream, subject string, offset uint64) (r record, found bool, err error) {
	return c.lead(ctx, stream, map[string]any{"seq": offset, "next_by_subj": subject})
}

func (c *calls) lead(ctx context.Context, stream string, request any) (r record, found bool, err error) {
	var answer struct {
		Message struct {
			Seq     uint64    `json:"seq"`
			Headers []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	err = c.again(ctx, false, func(ctx context.Context) error {
		return c.api(ctx, "STREAM.MSG.GET."+stream, request, &answer)
	})
	switch {
	case isCode(err, codeNoMessage):
		return r, false, nil
	case err != nil:
		return r, false, err
	}
	m := answer.Message
	h, err := client.DecodeHeadersMsg(m.Headers)
	if err != nil && !errors.Is(err, client.ErrBadHeaderMsg) {
		return r, false, err
	}
	r.readHeaders(h, m.Time)
	r.Offset, r.Payload = m.Seq, m.Data
	if r.Payload == nil {
		r.Payload = []byte{}
	}
	return r, true, nil
}

// remove has the leader delete a message for good, and reports whether there was one.
func (c *calls) remove(ctx context.Context, stream string, offset uint64) (bool, error) {
	tried := 0
	err := c.again(ctx, true, func(ctx context.Context) error {
		tried++
		return c.api(ctx, "STREAM.MSG.DELETE."+stream, map[string]any{"seq": offset}, nil)
	})
	if isCode(err, codeNoMessage, codeNoSequence, codeDeleteFailed) { // the last where the message is gone, too
		return tried > 1, nil // the first may have done it
	}
	return err == nil, err
}

// purge has the leader delete the messages of a subject before an offset, or all but some.
func (c *calls) purge(ctx context.Context, stream, subject string, before uint64, keep int) error {
	request := map[string]any{"filter": subject}
	if before > 0 {
		request["seq"] = before
	} else {
		request["keep"] = keep
	}
	return c.again(ctx, false, func(ctx context.Context) error {
		return c.api(ctx, "STREAM.PURGE."+stream, request, nil)
	})
}
