package fanout

import (
	"bytes"
	"encoding/json"
	"errors"
	"unicode/utf8"

	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/store"
)

// EventDraft is that of a Piece: no application can send it, and no client is sent it.
const EventDraft = "@draft"

// Piece is what nodes tell each other of a draft, in its topic. Its owner, which writes it,
// tells of its text and of its end; another says which text it misses.
type Piece struct {
	By    string `json:"by"` // the node
	Draft string `json:"draft"`
	// At is how many bytes of the text come before Text. If Wants is set it is how many the
	// node has: the owner is to go on there.
	At    int             `json:"at"`
	Wants bool            `json:"wants,omitempty"`
	Text  json.RawMessage `json:"text,omitempty"` // a string; none if only its length is told
	// Event and Payload are those of the message: they come with a Piece At 0.
	Event   string          `json:"event,omitempty"`
	Payload json.RawMessage `json:"payload,omitempty"`
	Over    *Over           `json:"over,omitempty"` // nil: it goes on
}

// Over is how a draft has ended.
type Over struct {
	Reason string `json:"reason,omitempty"` // why there is no message; "": there is one
	Epoch  string `json:"epoch,omitempty"`  // of the message
	Offset uint64 `json:"offset,omitempty"` // 0: it is not retained
}

// At is where the message is.
func (o Over) At() store.Position { return store.Position{Epoch: o.Epoch, Offset: o.Offset} }

// Encode returns p as it is announced. Its text stays as it is, byte by byte.
func (p Piece) Encode() ([]byte, error) { return wire.EncodeValue(p) }

// maxDraftID is how long the ID of a draft may be that another node tells of.
const maxDraftID = 64

var errPiece = errors.New("what a node tells of a draft can't be read")

// DecodePiece is the reverse of Encode. What it returns may go into frames.
func DecodePiece(b []byte) (p Piece, err error) {
	if !utf8.Valid(b) || bytes.ContainsAny(b, "\r\n") {
		return p, errPiece
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return p, err
	}
	if p.Draft == "" || len(p.Draft) > maxDraftID || p.At < 0 ||
		p.Text != nil && p.Text[0] != '"' || p.Payload != nil && p.Payload[0] != '{' {
		return p, errPiece
	}
	return p, nil
}

// text is what is between the quotes.
func (p Piece) text() []byte {
	if len(p.Text) < 2 {
		return nil
	}
	return p.Text[1 : len(p.Text)-1]
}

// from is the text of p from a place in the draft on, at which p must not begin later. It is
// nil if there is no more, or if the place is within a letter.
func (p Piece) from(at int) []byte {
	text := p.text()
	if n := at - p.At; n > 0 {
		if n >= len(text) {
			return nil
		}
		if text = text[n:]; !isText(quote(text)) {
			return nil
		}
	}
	return text
}

// quote is a text as JSON has it.
func quote(text []byte) json.RawMessage {
	return append(append(append(make([]byte, 0, len(text)+2), '"'), text...), '"')
}

// isText reports whether a quoted text that was cut can be read: it does not begin within a
// letter.
func isText(quoted []byte) bool { return utf8.Valid(quoted) && json.Valid(quoted) }

// Piece returns what there is of the text of d from a place on, with what the message has
// besides if that is 0, and the place at which it ends. From a place within a letter, which only
// a node that is wrong can name, it returns all of it.
func (t *Topic) Piece(d *Draft, from int) (p Piece, end int) {
	t.mu.Lock()
	text := d.text // it is only appended to
	t.mu.Unlock()
	p = Piece{Draft: d.id, At: min(from, len(text))}
	if p.At < len(text) {
		if p.Text = quote(text[p.At:]); !isText(p.Text) {
			p.At, p.Text = 0, quote(text)
		}
	}
	if p.At == 0 {
		p.Event, p.Payload = d.event, d.payload
	}
	return p, len(text)
}

// wholeOf returns the ID of the draft that a message has become by its payload, as
// package channel makes that; "" if it is not of a draft.
func wholeOf(payload []byte) string {
	rest, found := bytes.CutPrefix(payload, []byte(`{"draft":"`))
	if !found {
		return ""
	}
	end := bytes.IndexByte(rest[:min(len(rest), maxDraftID+1)], '"')
	if end <= 0 {
		return ""
	}
	return string(rest[:end])
}
