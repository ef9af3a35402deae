package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"strings"
	"sync/atomic"
)

// Message is one frame to clients. A broadcast is made once for all its receivers;
// the bytes of each form are made at the first use, and shared. A Message is immutable
// and safe for concurrent use.
type Message struct {
	Topic, Event string
	Offset       uint64 // position of a retained message in its topic, 0 for all others

	payload []byte // a JSON object, or raw bytes if binary
	binary  bool
	holders atomic.Int32
	own     *own // nil: it has nothing that is only for one client
	forms   atomic.Pointer[made]
}

// own is what a frame for one client has besides. The many messages that are kept in memory
// for all have no room for it.
type own struct {
	joinRef, ref Ref
	history      *History
	positions    bool // it is the reply to a join that asked for positions
}

// made is a form that was made. Few messages have more than one or two of all that there are.
type made struct {
	form  int
	bytes []byte
	next  *made
}

// History is what the reply to a join says of the position at which it begins:
// what is retained after that follows.
type History struct {
	Epoch     string `json:"epoch"`
	Offset    uint64 `json:"offset"`
	Recovered *bool  `json:"recovered,omitempty"` // only if a position was asked for, or nothing could be read
}

// A form is a way to write a message that is the same for all its receivers.
const (
	formWebSocket           = iota // for the Phoenix dialect: no position
	formWebSocketPositioned        // for the chime dialect: "@offset" as ref
	formStream                     // an event, always positioned
	formTail                       // what follows the join_ref of a join that asked for positions
	formV1                         // for Phoenix V1, on a WebSocket
	formAmber                      // for Amber, on a WebSocket
	formQuoted                     // for Phoenix's long-poll: the text as a string
	formQuotedTail                 // formTail in such a string, up to the end of that
	formQuotedV1                   // the text of Phoenix V1 as a string
)

// NewPush returns a push without refs. Payload is a JSON object in one line,
// as EncodeObject makes it; it is not copied. Offset 0 means not retained.
func NewPush(topic, event string, payload []byte, offset uint64) *Message {
	return &Message{Topic: topic, Event: event, payload: payload, Offset: offset}
}

// NewBinaryPush is NewPush for raw bytes.
func NewBinaryPush(topic, event string, payload []byte, offset uint64) *Message {
	return &Message{Topic: topic, Event: event, payload: payload, Offset: offset, binary: true}
}

// NewPosition returns what moves the position of a client in a topic, and says nothing
// else. Dialects without positions have no form for it.
func NewPosition(topic string, offset uint64) *Message {
	return NewPush(topic, EventPosition, []byte("{}"), offset)
}

// NewFrame returns a frame for one client, with its refs.
func NewFrame(joinRef, ref Ref, topic, event string, payload []byte) *Message {
	f := &struct { // of one allocation
		m   Message
		own own
	}{own: own{joinRef: joinRef, ref: ref}}
	m := &f.m
	m.Topic, m.Event, m.payload, m.own = topic, event, payload, &f.own
	return m
}

// NewReply returns a phx_reply. Response is JSON in one line; status is "ok" or "error".
func NewReply(joinRef, ref Ref, topic, status string, response []byte) *Message {
	payload := make([]byte, 0, len(response)+32)
	payload = append(payload, `{"status":"`...)
	payload = append(payload, status...)
	payload = append(payload, `","response":`...)
	payload = append(payload, response...)
	payload = append(payload, '}')
	return NewFrame(joinRef, ref, topic, EventReply, payload)
}

// NewBinaryReply returns an ok reply whose response is raw bytes.
func NewBinaryReply(joinRef, ref Ref, topic string, response []byte) *Message {
	m := NewFrame(joinRef, ref, topic, EventReply, response)
	m.binary = true
	return m
}

// NewJoinReply returns the ok reply to a join. Response is a JSON object, to which h
// is added for clients of the chime dialect, and for a join that asked for positions.
func NewJoinReply(joinRef, ref Ref, topic string, response []byte, h *History, positions bool) *Message {
	m := NewReply(joinRef, ref, topic, "ok", response)
	m.own.history, m.own.positions = h, positions
	return m
}

// WithRefs returns m as a frame for one client of a topic, as a push carries
// the join_ref of its join.
func (m *Message) WithRefs(joinRef, ref Ref) *Message {
	f := NewFrame(joinRef, ref, m.Topic, m.Event, m.payload)
	f.Offset, f.binary = m.Offset, m.binary
	return f
}

// History is of the reply to a join of a topic with history, and nil for all others.
func (m *Message) History() *History {
	if m.own == nil {
		return nil
	}
	return m.own.history
}

// refs returns the refs of m, which are null if it is for all.
func (m *Message) refs() (joinRef, ref Ref) {
	if m.own == nil {
		return Ref{}, Ref{}
	}
	return m.own.joinRef, m.own.ref
}

// Counted reports whether m is numbered.
func (m *Message) Counted() bool { return Counted(m.Topic) }

// perMessage is what a message takes besides its texts.
const perMessage = 128

// Size is what m takes in a queue, in bytes, about. Refs count: a client
// chooses them, and could fill a queue with large ones.
func (m *Message) Size() int {
	n := len(m.payload) + len(m.Topic) + len(m.Event) + perMessage
	if m.own != nil {
		n += len(m.own.joinRef.text) + len(m.own.ref.text)
	}
	return n
}

// Hold counts one more queue that has m, and reports whether it is the first.
func (m *Message) Hold() bool { return m.holders.Add(1) == 1 }

// Release counts one less, and reports whether it was the last.
func (m *Message) Release() bool { return m.holders.Add(-1) == 0 }

// Payload is the JSON object, or the bytes, of m. It must not be modified.
func (m *Message) Payload() []byte { return m.payload }

// PayloadSize is how many bytes the payload is, by which a store bounds its pages.
func (m *Message) PayloadSize() int { return len(m.payload) }

// AppendText appends m as an array of five. Positioned is the chime dialect. To is the
// join_ref of a join that asked for positions in another dialect: its retained
// messages have both, since some clients demand a join_ref where there is a ref.
func (m *Message) AppendText(b []byte, positioned bool, to string) []byte {
	b = append(b, '[')
	if m.marked(positioned, to) {
		return m.appendTail(AppendString(b, to), true)
	}
	joinRef, _ := m.refs()
	return m.appendTail(joinRef.append(b), positioned)
}

// marked reports whether m has its position because one join asked for it.
func (m *Message) marked(positioned bool, to string) bool {
	return m.Offset > 0 && !positioned && to != ""
}

// appendTail appends what follows the join_ref in the five-array.
func (m *Message) appendTail(b []byte, positioned bool) []byte {
	b = append(b, ',')
	if positioned && m.Offset > 0 {
		b = append(b, `"@`...)
		b = strconv.AppendUint(b, m.Offset, 10)
		b = append(b, '"')
	} else {
		_, ref := m.refs()
		b = ref.append(b)
	}
	b = append(b, ',')
	b = AppendString(b, m.Topic)
	b = append(b, ',')
	b = AppendString(b, m.Event)
	b = append(b, ',')
	b = m.appendPayload(b, positioned)
	return append(b, ']')
}

// appendPayload appends the payload as JSON.
func (m *Message) appendPayload(b []byte, positioned bool) []byte {
	switch {
	case m.binary && m.Event == EventReply:
		b = append(b, `{"status":"`+statusOK+`","response":`...)
		return append(m.appendBase64(b), '}')
	case m.binary:
		return m.appendBase64(b)
	case m.History() != nil && (positioned || m.own.positions):
		return m.appendWithHistory(b)
	}
	return append(b, m.payload...)
}

func (m *Message) appendBase64(b []byte) []byte {
	b = append(b, `{"`+binaryKey+`":"`...)
	b = base64.StdEncoding.AppendEncode(b, m.payload)
	return append(b, `"}`...)
}

// appendWithHistory puts @history into the response object, in front of what the
// channel replied.
func (m *Message) appendWithHistory(b []byte) []byte {
	const start = len(`{"status":"ok","response":{`)
	h, err := marshal(m.own.history)
	if err != nil { // a string, a number and a bool always encode
		return append(b, m.payload...)
	}
	b = append(b, m.payload[:start]...)
	b = append(b, `"@history":`...)
	b = append(b, h...)
	if bytes.TrimLeft(m.payload[start:], " \t")[0] != '}' { // a json.RawMessage of "{ }" is empty too
		b = append(b, ',')
	}
	return append(b, m.payload[start:]...)
}

// AppendWebSocket appends m as a WebSocket frame. To a join that asked for
// positions retained bytes go as text, because a binary frame has no place for
// one.
func (m *Message) AppendWebSocket(b []byte, positioned bool, to string) []byte {
	if m.marked(positioned, to) {
		start := len(b)
		b = AppendString(append(beginFrame(b), '['), to)
		return endFrame(append(b, m.form(formTail)...), start, opText)
	}
	form := formWebSocket
	if positioned {
		form = formWebSocketPositioned
	}
	return append(b, m.form(form)...)
}

// AppendEvent appends m as the data line of an event and the line that ends it.
func (m *Message) AppendEvent(b []byte) []byte { return append(b, m.form(formStream)...) }

// AppendElement appends m as the data line of an event has it.
func (m *Message) AppendElement(b []byte) []byte {
	event := m.form(formStream)
	return append(b, event[len(eventHead):len(event)-len(eventTail)]...)
}

// AppendQuoted appends as a JSON string what AppendText appends for Phoenix.
func (m *Message) AppendQuoted(b []byte, to string) []byte {
	if !m.marked(false, to) {
		return append(b, m.form(formQuoted)...)
	}
	if b = append(b, `"[`...); plain(to) {
		b = append(append(append(b, `\"`...), to...), `\"`...)
	} else {
		b = append(b, inner(quote(AppendString(nil, to)))...)
	}
	return append(b, m.form(formQuotedTail)...)
}

func quote(text []byte) []byte   { return AppendString(nil, string(text)) }
func inner(quoted []byte) []byte { return quoted[1 : len(quoted)-1] }

// What is around the text of a message in an event stream.
const (
	eventHead = "data: "
	eventTail = "\n\n"
)

// form returns the bytes of a form. Two goroutines may make them at once, with
// the same result.
func (m *Message) form(form int) []byte {
	if b := m.forms.Load().find(form); b != nil {
		return b
	}
	one := &made{form: form, bytes: m.makeForm(form)}
	for {
		one.next = m.forms.Load()
		if b := one.next.find(form); b != nil {
			return b
		}
		if m.forms.CompareAndSwap(one.next, one) {
			return one.bytes
		}
	}
}

func (f *made) find(form int) []byte {
	for ; f != nil; f = f.next {
		if f.form == form {
			return f.bytes
		}
	}
	return nil
}

func (m *Message) makeForm(form int) []byte {
	b := make([]byte, 0, m.Size()-perMessage+len(m.payload)/3+80)
	switch form {
	case formStream:
		b = append(b, eventHead...)
		b = m.AppendText(b, true, "")
		b = append(b, eventTail...)
	case formTail:
		b = m.appendTail(b, true)
	case formV1:
		b = endFrame(m.appendV1Text(beginFrame(b)), 0, opText)
	case formAmber:
		b = endFrame(m.appendAmberText(beginFrame(b)), 0, opText)
	case formQuoted:
		b = quote(m.AppendText(b, false, ""))
	case formQuotedTail:
		b = quote(m.appendTail(b, true))[1:]
	case formQuotedV1:
		b = quote(m.appendV1Text(b))
	default:
		b = m.frame(b, form == formWebSocketPositioned)
	}
	return b
}

// frame appends a WebSocket frame of Phoenix V2 or the chime dialect.
func (m *Message) frame(b []byte, positioned bool) []byte {
	start := len(b)
	b = beginFrame(b)
	if m.binary && !positioned {
		return endFrame(m.appendBinary(b), start, opBinary)
	}
	return endFrame(m.AppendText(b, positioned, ""), start, opText)
}

// beginFrame leaves room for a header, whose length is known only after the
// payload; endFrame puts it in front of what stands after start.
func beginFrame(b []byte) []byte {
	var room [maxHeader]byte
	return append(b, room[:]...)
}

func endFrame(b []byte, start int, opcode byte) []byte {
	var header [maxHeader]byte
	n := putHeader(&header, opcode, len(b)-start-maxHeader)
	copy(b[start:], header[:n])
	copy(b[start+n:], b[start+maxHeader:])
	return b[:len(b)-(maxHeader-n)]
}

// Kinds of binary frames of Phoenix V2, their first byte.
const (
	binaryPush      = 0
	binaryReply     = 1
	binaryBroadcast = 2
)

// statusOK is that of every binary reply: an error is a reason, which is text.
const statusOK = "ok"

// appendBinary appends the binary frame of Phoenix V2, which has a byte for the
// length of each name and ref: none is longer.
func (m *Message) appendBinary(b []byte) []byte {
	joinRef, ref := m.refs()
	names := []string{joinRef.text, m.Topic, m.Event}
	switch {
	case m.Event == EventReply:
		b = append(b, binaryReply)
		names = []string{joinRef.text, ref.text, m.Topic, statusOK}
	case joinRef.Null():
		b = append(b, binaryBroadcast)
		names = names[1:]
	default:
		b = append(b, binaryPush)
	}
	for _, name := range names {
		b = append(b, byte(len(name)))
	}
	for _, name := range names {
		b = append(b, name...)
	}
	return append(b, m.payload...)
}

// WebSocket framing, RFC 6455 section 5.2. The server does not mask.
const (
	opText    = 0x1
	opBinary  = 0x2
	opClose   = 0x8
	opPing    = 0x9
	fin       = 0x80
	maxHeader = 10
)

func putHeader(h *[maxHeader]byte, opcode byte, n int) int {
	h[0] = fin | opcode
	switch {
	case n < 126:
		h[1] = byte(n)
		return 2
	case n < 1<<16:
		h[1] = 126
		binary.BigEndian.PutUint16(h[2:], uint16(n))
		return 4
	default:
		h[1] = 127
		binary.BigEndian.PutUint64(h[2:], uint64(n))
		return 10
	}
}

// AppendClose appends a WebSocket close frame. The reason is cut to what a
// control frame holds, and made UTF-8, without which browsers drop the code too.
func AppendClose(b []byte, code CloseCode, reason string) []byte {
	if code == CloseNoStatus {
		return append(b, fin|opClose, 0)
	}
	reason = cut(strings.ToValidUTF8(reason, "\ufffd"), maxCloseReason)
	b = append(b, fin|opClose, byte(closePayloadStart+len(reason)))
	b = binary.BigEndian.AppendUint16(b, uint16(code))
	return append(b, reason...)
}

// cut shortens s to at most n bytes without splitting a rune.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n]
}
