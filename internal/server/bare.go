package server

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/go-chime/chime/internal/wire"
)

// A stream without chime headers is receive-only and keeps no state here: the
// id of its events holds all positions, and a client that comes back with the
// last one gets what it missed.

var errQuery = errors.New("query: malformed: want key=value pairs with & between them, percent-encoded")

// maxBareJoins is how many topics one such stream may name.
const maxBareJoins = 16

// bareJoins makes the joins that the URL asks for: join=topic (repeatable),
// last=n, since=<epoch>:<offset>[,<offset>…] or a Last-Event-ID; all other
// keys are the payload. None has more than most bytes: it is a message of a
// client like any other.
func bareJoins(r *http.Request, most int) ([]wire.Frame, *bare, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, nil, errQuery
	}
	topics := query["join"]
	switch {
	case len(topics) == 0:
		return nil, nil, errors.New("join: none: want ?join=<topic>, or the header " + headerReceived + ": 0 to open a client socket")
	case len(topics) > maxBareJoins:
		return nil, nil, fmt.Errorf("join: %d topics: want at most %d", len(topics), maxBareJoins)
	}
	payload := map[string]any{}
	for key, values := range query {
		if key != "join" && key != "last" && key != "since" && !strings.HasPrefix(key, "@") {
			payload[key] = values[0]
		}
	}
	if last := query.Get("last"); last != "" {
		n, err := strconv.Atoi(last)
		if err != nil || n < 0 {
			return nil, nil, fmt.Errorf("last: %.80q: want a number from 0", last)
		}
		payload["@last"] = n
	}
	id := r.Header.Get("Last-Event-ID")
	if id == "" {
		id = query.Get("since")
	}
	since := positionsOf(id)
	common, err := wire.EncodeValue(payload)
	if err != nil {
		return nil, nil, errQuery
	}
	seen := map[string]bool{}
	frames, b := make([]wire.Frame, len(topics)), &bare{topics: make([]barePosition, len(topics))}
	for i, topic := range topics {
		topic = strings.Clone(topic) // it would hold the whole request line
		if topic == "" {
			return nil, nil, errors.New(`join: "": want a topic`)
		}
		if seen[topic] {
			return nil, nil, fmt.Errorf("join: %.80q twice: want each topic once", topic)
		}
		seen[topic] = true
		b.topics[i].topic = topic
		text := []byte{'{'}
		if epoch, offset, ok := since.of(i); ok {
			// Known before the join is answered: another topic's message may come
			// earlier, and its id must not lose this position.
			b.epoch, b.topics[i].offset, b.topics[i].known = strings.Clone(epoch), offset, true
			if text = appendSince(nil, epoch, offset); len(payload) > 0 {
				text = append(text, ',')
			}
		}
		if text = append(text, common[1:]...); len(text) > most {
			return nil, nil, fmt.Errorf("join: a payload of %d bytes: want at most %d", len(text), most)
		}
		ref := wire.RefOf(strconv.Itoa(i + 1))
		frames[i] = wire.Frame{JoinRef: ref, Ref: ref, Topic: topic, Event: wire.EventJoin, Payload: text}
	}
	return frames, b, nil
}

// positions are what an id says, of the topics in the order of the URL.
type positions struct {
	epoch   string
	offsets []string // "" is of a topic that was not joined yet when the id was given
	foreign bool     // the id is not of our making
}

func positionsOf(id string) positions {
	epoch, list, found := strings.Cut(id, ":")
	switch {
	case id == "":
		return positions{}
	case !found || epoch == "":
		return positions{foreign: true}
	}
	return positions{epoch: epoch, offsets: strings.SplitN(list, ",", maxBareJoins+1)}
}

// of returns the position of topic i, if there is one. Whatever is not of our
// making becomes a position that no history knows: such a client is told
// recovered:false, never refused, since EventSource would give up.
func (p positions) of(i int) (epoch string, offset uint64, ok bool) {
	if p.foreign {
		return "unknown", 0, true
	}
	if i >= len(p.offsets) || p.offsets[i] == "" {
		return "", 0, false
	}
	offset, err := strconv.ParseUint(p.offsets[i], 10, 64)
	if err != nil {
		return "unknown", 0, true
	}
	return p.epoch, offset, true
}

// appendSince begins the payload of a join with its position.
func appendSince(b []byte, epoch string, offset uint64) []byte {
	b = wire.AppendString(append(b, `{"@since":{"epoch":`...), epoch)
	b = strconv.AppendUint(append(b, `,"offset":`...), offset, 10)
	return append(b, '}')
}

// bare keeps the positions that the next id names.
type bare struct {
	topics []barePosition
	epoch  string
}

type barePosition struct {
	topic  string
	offset uint64
	known  bool
}

// appendID appends the id line of m if it moves a position. The reply to a join
// says where the topic begins, so that a client that comes back before the first
// message misses none; and each retained message moves it on.
func (b *bare) appendID(dst []byte, m *wire.Message) []byte {
	h := m.History()
	if h == nil && m.Offset == 0 {
		return dst
	}
	p := b.position(m.Topic)
	if p == nil {
		return dst
	}
	if h != nil {
		if b.epoch != h.Epoch { // what the client had is of another history
			b.epoch = h.Epoch
			for i := range b.topics {
				b.topics[i].known = false
			}
		}
		p.offset, p.known = h.Offset, true // from where on it is sent what there is
	} else {
		p.offset, p.known = m.Offset, true
	}
	dst = append(dst, "id: "...)
	dst = append(dst, b.epoch...)
	separator := byte(':')
	for _, p := range b.topics {
		dst = append(dst, separator)
		separator = ','
		if p.known {
			dst = strconv.AppendUint(dst, p.offset, 10)
		}
	}
	return append(dst, '\n')
}

func (b *bare) position(topic string) *barePosition {
	for i := range b.topics {
		if b.topics[i].topic == topic {
			return &b.topics[i]
		}
	}
	return nil
}
