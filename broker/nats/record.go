package nats

import (
	"fmt"
	"net/url"
	"strconv"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

// What a message says besides its payload, as headers of ours. All but the first are left
// out where they are zero.
const (
	headerEvent  = "Chime-Event"
	headerBinary = "Chime-Binary"
	headerAt     = "Chime-At"   // only if it was given, Unix nanoseconds
	headerKey    = "Chime-Key"  // escaped, as the event
	headerSum    = "Chime-Sum"  // escaped
	headerFrom   = "Chime-From" // escaped
	headerErases = "Chime-Erases"
	headerKeep   = "Chime-Keep"
	headerAge    = "Chime-Age"    // nanoseconds
	headerPrev   = "Chime-Prev"   // the message before, if the stream was made to check that; 0 is none
	headerBack   = "Chime-Back"   // one some 64 to 128 messages before, as its publisher believes
	headerMark   = "Chime-Mark"   // this is no message: the offset of the last that was one
	headerAfter  = "Chime-After"  // of an ephemeral one, and of an erasure: what it must not be announced before
	headerOf     = "Chime-Of"     // of an ephemeral one: the instance of the node that has published it
	headerErased = "Chime-Erased" // this says only that a message was erased
)

// Headers of the servers.
const (
	headerID         = "Nats-Msg-Id"
	headerExpectTop  = "Nats-Expected-Last-Subject-Sequence"
	headerRollup     = "Nats-Rollup"
	headerSequence   = "Nats-Sequence"
	headerBefore     = "Nats-Last-Sequence"
	headerTime       = "Nats-Time-Stamp"
	headerPending    = "Nats-Num-Pending"
	headerSubject    = "Nats-Subject"
	headerStatus     = "Status"
	headerStatusText = "Description"
)

// overhead is the most that headers may take: the sizes of keys and events are bounded.
const overhead = 4 << 10

// record is a message as a stream has it.
type record struct {
	store.Message
	from    string
	stored  time.Time
	keep    store.Retention
	mark    bool   // it is no message; Prev is the last that was one
	proven  bool   // Prev is true: else it is 0
	back    uint64 // where there are some 64 to 128 messages behind, or 0
	id      string
	subject string
	pending uint64 // how many of its topic there are behind it, where that was asked
}

// top is the offset of the last message, if r is the last in its topic.
func (r *record) top() uint64 {
	if r.mark {
		return r.Prev
	}
	return r.Offset
}

func escape(s string) string { return url.PathEscape(s) }

func unescape(s string) string {
	plain, err := url.PathUnescape(s)
	if err != nil {
		return s
	}
	return plain
}

// headersOf are those of a publication.
func headersOf(p *broker.Publication) client.Header {
	h := client.Header{headerEvent: {escape(p.Event)}}
	set := func(name, value string) {
		if value != "" {
			h[name] = []string{value}
		}
	}
	if p.Binary {
		set(headerBinary, "1")
	}
	set(headerKey, escape(p.Key))
	set(headerSum, escape(p.Sum))
	set(headerFrom, escape(p.From))
	if !p.At.IsZero() {
		set(headerAt, strconv.FormatInt(p.At.UnixNano(), 10))
	}
	if p.Erases != 0 {
		set(headerErases, number(p.Erases))
	}
	return h
}

// retain adds how much of the topic is kept.
func retain(h client.Header, keep store.Retention) {
	if keep.Keep > 0 {
		h[headerKeep] = []string{strconv.Itoa(keep.Keep)}
	}
	if keep.Age > 0 {
		h[headerAge] = []string{strconv.FormatInt(int64(keep.Age), 10)}
	}
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }

// field returns a header as a number, 0 if there is none.
func field(h client.Header, name string) uint64 {
	v := h[name]
	if len(v) == 0 {
		return 0
	}
	n, _ := strconv.ParseUint(v[len(v)-1], 10, 64)
	return n
}

// text returns a header of ours.
func text(h client.Header, name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// last returns a header of the server, which comes behind those of whoever published.
func last(h client.Header, name string) string {
	if v := h[name]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// readHeaders fills in what headers say. stored is when the message was stored.
func (r *record) readHeaders(h client.Header, stored time.Time) {
	r.Event, r.Binary = unescape(text(h, headerEvent)), text(h, headerBinary) != ""
	r.Key, r.Sum, r.from = unescape(text(h, headerKey)), unescape(text(h, headerSum)), unescape(text(h, headerFrom))
	r.Erases = field(h, headerErases)
	r.keep = store.Retention{Keep: int(min(field(h, headerKeep), 1<<31-1)), Age: time.Duration(min(field(h, headerAge), 1<<62))} //nolint:gosec // bounded
	r.stored, r.At = stored, stored
	if at, err := strconv.ParseInt(text(h, headerAt), 10, 64); err == nil && at < stored.UnixNano() {
		r.At = time.Unix(0, at)
	}
	r.back, r.id = field(h, headerBack), text(h, headerID)
	if v := h[headerPrev]; len(v) > 0 {
		r.proven, r.Prev = true, field(h, headerPrev)
	}
	if v := h[headerMark]; len(v) > 0 {
		r.mark, r.proven, r.Prev = true, true, field(h, headerMark)
	}
}

// recordOf reads a message that a server sends, whose headers have its place.
func recordOf(m *client.Msg) (record, error) {
	stored, err := time.Parse(time.RFC3339Nano, last(m.Header, headerTime))
	if err != nil {
		return record{}, fmt.Errorf("a message without a time: %q", last(m.Header, headerTime))
	}
	var r record
	r.readHeaders(m.Header, stored)
	r.Offset, r.Payload = uint64Of(last(m.Header, headerSequence)), m.Data
	r.pending, r.subject = uint64Of(last(m.Header, headerPending)), last(m.Header, headerSubject)
	if r.Payload == nil {
		r.Payload = []byte{}
	}
	return r, nil
}

func uint64Of(s string) uint64 {
	n, _ := strconv.ParseUint(s, 10, 64)
	return n
}
