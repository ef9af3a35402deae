package channel

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strconv"

	"github.com/go-chime/chime/internal/fanout"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/transport"
)

const (
	// defaultLookback is how many messages a page has if its reader does not say.
	defaultLookback = 50

	// lookbackBytes bounds a page. It has to fit, as one frame, into the queue of a client
	// that reads, and into what is kept for one that has to resume. See also lookbackRoom.
	lookbackBytes = 128 << 10

	// perOlder is what a message takes in a page besides its event and payload.
	perOlder = 100
)

// lookback is a request of a member for a page of what came before, from its frame to the
// reply. It belongs to the goroutine of the inbox.
type lookback struct {
	socket  *Socket
	claim   pageClaim
	message Message
	before  store.Position // zero: behind the newest
	limit   int
}

var (
	errLookback = Refuse(`malformed request: want {"before":{"epoch":"…","offset":n},"limit":n}`)
	errBefore   = Refuse(`malformed before: want {"epoch":"…","offset":n}, and n from 1`)
	errLimit    = Refuse("malformed limit: want a number from 1")
	errUnkept   = Refuse("no history")
	errUnread   = Refuse("unavailable")
)

// parse reads the payload of a request. What has no before is about the newest: an offset
// of 0, which nothing comes before, is a mistake.
func (l *lookback) parse(payload json.RawMessage) error {
	var fields struct {
		Before *json.RawMessage `json:"before"`
		Limit  *json.RawMessage `json:"limit"`
	}
	if !bytes.HasPrefix(payload, []byte("{")) || json.Unmarshal(payload, &fields) != nil {
		return errLookback
	}
	l.limit = defaultLookback
	if fields.Before != nil {
		var p struct {
			Epoch  string `json:"epoch"`
			Offset uint64 `json:"offset"`
		}
		if json.Unmarshal(*fields.Before, &p) != nil || p.Epoch == "" || p.Offset == 0 {
			return errBefore
		}
		l.before = store.Position{Epoch: p.Epoch, Offset: p.Offset}
	}
	if fields.Limit != nil {
		var n uint64
		if json.Unmarshal(*fields.Limit, &n) != nil || n == 0 {
			return errLimit
		}
		l.limit = int(min(n, fanout.MaxReplay))
	}
	return nil
}

// lookBack answers a member that asks for a page of what came before. That waits until the
// client has room for it: the next messages of the client in this topic wait, too.
func (w worker) lookBack(s *Socket, f *wire.Frame) {
	l := lookback{socket: s, claim: pageClaim{of: w.client}, message: messageOf(f)}
	if f.Ref.Null() {
		w.client.logRefusal(f, "a request without a ref can't be answered")
		return
	}
	err := l.parse(f.Payload)
	if s.route.keep == nil {
		err = errUnkept
	}
	if err != nil {
		w.client.logRefusal(f, err.Error())
		_ = s.reply(l.message, nil, err)
		return
	}
	if err := l.answer(s.context()); err != nil && s.context().Err() == nil {
		w.client.hub.log.Error("history could not be read", "topic", w.topic, "client", s.ID(), "error", err)
		_ = s.reply(l.message, nil, errUnread)
	}
}

// answer reads a page and sends it, as one page at a time is sent to a client.
func (l *lookback) answer(ctx context.Context) error {
	if err := l.socket.outbox.claim(ctx); err != nil {
		return err
	}
	defer l.socket.outbox.release()
	if err := l.claim.take(ctx); err != nil {
		return err
	}
	defer l.claim.end()
	s, c := l.socket, l.claim.of
	room := lookbackRoom(c.hub.limits)
	part := store.Range{Newest: true, Before: l.before.Offset, Limit: l.limit, Bytes: room}
	return c.hub.lookups.Read(ctx, s.place.Topic, part, func(page store.Page) *wire.Message {
		page = ofEpoch(page, l.before)
		if s.route.outgoing != nil {
			l.claim.lend(func() { page = l.rewritten(page) })
		}
		if l.claim.take(ctx) != nil {
			return nil
		}
		return wire.NewReply(s.joinRef, l.message.ref, s.Topic(), "ok", encodePage(fit(page, room)))
	}, func(reply *wire.Message) {
		if reply != nil {
			_ = s.sender.reply(c.cs, reply)
		}
	})
}

// rewritten is a page as the channel's Outgoing has its client see it. If its oldest
// message is withheld the client reads its position, behind which there may be more.
func (l *lookback) rewritten(page store.Page) store.Page {
	s := l.socket
	running := &s.hub().running
	running.began(l, s.Topic(), call{handler: "Outgoing", end: &s.ending})
	defer running.returned(l)
	failed := true
	defer func() {
		if failed {
			s.outbox.crash()
		}
	}()
	var list []store.Message
	for i, m := range page.Messages {
		out, ok := s.rewritten(broadcastOf(s.Topic(), m))
		switch {
		case !ok:
			return store.Page{} // which is not sent
		case out != nil:
			m.Payload, m.Binary = out.Payload(), out.Binary()
			list = append(list, m)
		case i == 0:
			list = append(list, store.Message{Offset: m.Offset, At: m.At, Event: wire.EventPosition, Payload: []byte("{}")})
		}
	}
	failed = false
	page.Messages = list
	return page
}

// broadcastOf is a retained message as members are sent it.
func broadcastOf(topic string, m store.Message) *wire.Message {
	return body{m.Payload, m.Binary}.message(topic, m.Event, m.Offset)
}

// lookbackRoom is how many bytes a page may have.
func lookbackRoom(l transport.Limits) int {
	return min(lookbackBytes, max(1, min(l.QueueBytes/4, l.UnackedBytes/2)))
}

// fit takes the oldest messages off a page until it has so many bytes as it is written,
// or one message.
func fit(page store.Page, most int) store.Page {
	bytes := 0
	for i, m := range slices.Backward(page.Messages) {
		if bytes += olderSize(m); bytes > most && i < len(page.Messages)-1 {
			page.Messages, page.More = page.Messages[i+1:], true
			break
		}
	}
	return page
}

// olderSize is what a message takes in a page, about.
func olderSize(m store.Message) int {
	size := len(m.Event) + len(m.Payload) + perOlder
	if m.Binary {
		size += len(m.Payload)/3 + len(`{"@binary":""}`)
	}
	return size
}

// encodePage is a page as a client reads it.
func encodePage(page store.Page) []byte {
	size := perOlder + len(page.Epoch)
	for _, m := range page.Messages {
		size += olderSize(m)
	}
	b := append(make([]byte, 0, size), `{"epoch":`...)
	b = wire.AppendString(b, page.Epoch)
	b = append(b, `,"complete":`...)
	b = strconv.AppendBool(b, page.Complete)
	b = append(b, `,"more":`...)
	b = strconv.AppendBool(b, page.More)
	b = append(b, `,"messages":[`...)
	for i, m := range page.Messages {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"offset":`...)
		b = strconv.AppendUint(b, m.Offset, 10)
		b = append(b, `,"at":"`...)
		b = m.At.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
		b = append(b, `","event":`...)
		b = wire.AppendString(b, m.Event)
		b = append(b, `,"payload":`...)
		b = append(b, payloadText(m)...)
		b = append(b, '}')
	}
	return append(b, `]}`...)
}

// payloadText is the payload of a retained message as JSON.
func payloadText(m store.Message) []byte {
	if !m.Binary {
		return m.Payload
	}
	text, _ := Binary(m.Payload).MarshalJSON() // has no error
	return text
}
