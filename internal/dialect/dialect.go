// Package dialect knows the forms of frames that clients speak on a WebSocket,
// and how a request says which. The channel side never learns it, and a dialect
// knows no connection: it turns bytes into frames and back.
package dialect

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/internal/wire"
)

// Dialect is what a client speaks on a WebSocket.
type Dialect struct {
	Name        string
	Counted     stats.Dialect
	Timing      Timing
	Lenient     bool   // what can't be decoded is ignored, and does not end the connection
	subprotocol string // echoed if the client offers it
	text        func([]byte) (wire.Frame, error)
	binary      func([]byte) (wire.Frame, error)
	encode      func(b []byte, m *wire.Message, to string) []byte
	quoted      func(b []byte, m *wire.Message, to string) []byte // nil: it is not polled
	places      func(to string) bool                              // whether a client has positions; nil: none has
	endsWith    string                                            // an event the dialect has no form for, which ends the client socket instead
}

// Timing says when something is due on a connection. Zero is never.
type Timing struct {
	Heartbeat time.Duration // after so long without a write, or a sign of life, a heartbeat is written
	Silence   time.Duration // after so long without a sign of life the connection is aborted
	Early     []byte        // written once, a moment after the beginning
	Ping      []byte        // written every Heartbeat in place of one, whatever else is written
}

const (
	// Heartbeat is under the 20 s that some proxies wait, the 30 s of CloudFront and
	// the 60 s of nginx, ALB and HAProxy.
	Heartbeat = 15 * time.Second
	// Silence lets two heartbeats be lost before a connection counts as broken.
	Silence = 2*Heartbeat + 5*time.Second
	// phoenixSilence is the time Phoenix gives its clients, whose own heartbeat
	// comes every 30 s.
	phoenixSilence = 60 * time.Second
)

// The dialects. [Of] finds Phoenix's.
var (
	phoenixV2 = Dialect{
		Name: "phoenix v2", Counted: stats.PhoenixV2, subprotocol: protocolPhoenix, text: wire.Decode, binary: wire.DecodeBinary,
		encode: func(b []byte, m *wire.Message, to string) []byte { return m.AppendWebSocket(b, false, to) },
		quoted: func(b []byte, m *wire.Message, to string) []byte { return m.AppendQuoted(b, to) },
		places: func(to string) bool { return to != "" },
		Timing: Timing{Heartbeat: Heartbeat, Silence: phoenixSilence, Ping: wire.Ping},
	}
	phoenixV1 = Dialect{
		Name: "phoenix v1", Counted: stats.PhoenixV1, subprotocol: protocolPhoenix, text: wire.DecodeV1, binary: noBinary,
		encode: func(b []byte, m *wire.Message, _ string) []byte { return m.AppendV1(b) },
		quoted: func(b []byte, m *wire.Message, _ string) []byte { return m.AppendV1Quoted(b) },
		Timing: Timing{Heartbeat: Heartbeat, Silence: phoenixSilence, Ping: wire.Ping},
	}
	Chime = Dialect{
		Name: "chime", Counted: stats.Chime, subprotocol: protocolChime, text: wire.Decode, binary: wire.DecodeBinary,
		encode: func(b []byte, m *wire.Message, _ string) []byte { return m.AppendWebSocket(b, true, "") },
		places: func(string) bool { return true },
		Timing: Timing{Heartbeat: Heartbeat, Silence: Silence},
	}
	// Amber knows neither replies nor errors. A client whose handler panicked
	// would wait in a topic that it has left: it is made to connect anew.
	Amber = Dialect{
		Name: "amber", Counted: stats.Amber, text: wire.DecodeAmber, binary: noBinary,
		encode:  func(b []byte, m *wire.Message, _ string) []byte { return m.AppendAmber(b) },
		Timing:  Timing{Heartbeat: Heartbeat, Silence: Silence, Ping: wire.AmberHeartbeat},
		Lenient: true, endsWith: wire.EventError,
	}
)

var errBinary = errors.New("binary frames are not part of this dialect")

func noBinary([]byte) (wire.Frame, error) { return wire.Frame{}, errBinary }

// Decode decodes a message of a WebSocket.
func (d *Dialect) Decode(binary bool, data []byte) (wire.Frame, error) {
	if binary {
		return d.binary(data)
	}
	return d.text(data)
}

// Encode appends m in the form of the dialect: nothing, where it has none. To is
// as ClientSocket.Send has it. It reports true for what ends the client socket.
func (d *Dialect) Encode(b []byte, m *wire.Message, to string) (_ []byte, ends bool) {
	if d.ignores(m, to) {
		return b, false
	}
	return d.encode(b, m, to), d.endsWith != "" && m.Event == d.endsWith
}

// AppendQuoted appends m as Phoenix's long-poll has it: its text as a JSON string, and a
// comma behind it. It appends nothing where the dialect has no form for m.
func (d *Dialect) AppendQuoted(b []byte, m *wire.Message, to string) []byte {
	if d.ignores(m, to) {
		return b
	}
	return append(d.quoted(b, m, to), ',')
}

// ignores reports whether m is a position, and its client has none.
func (d *Dialect) ignores(m *wire.Message, to string) bool {
	return m.Event == wire.EventPosition && (d.places == nil || !d.places(to))
}

// Echo returns what to answer of the subprotocols that r offers.
func (d *Dialect) Echo(r *http.Request) []string {
	if d.subprotocol != "" && offers(r, d.subprotocol) {
		return []string{d.subprotocol}
	}
	return nil
}

// Of finds out what a WebSocket client speaks: chime.v1 if it offers that, else
// what vsn says. A reason says why it can't be served.
func Of(r *http.Request) (d *Dialect, reason string) {
	if offers(r, protocolChime) {
		return &Chime, ""
	}
	foreign := false
	for p := range offered(r) {
		foreign = foreign || p != protocolPhoenix && !strings.HasPrefix(p, protocolToken) && !strings.HasPrefix(p, protocolSecret)
	}
	if foreign && !offers(r, protocolPhoenix) {
		return nil, "none of these subprotocols is spoken here: want chime.v1 or phoenix"
	}
	vsn := "1.0.0"
	if given := r.URL.Query()["vsn"]; len(given) > 0 {
		vsn = given[len(given)-1] // phoenix.js appends its own to what the page has
	}
	dot := strings.LastIndexByte(vsn, '.')
	switch series, patch := vsn[:max(dot, 0)], vsn[dot+1:]; {
	case !isNumber(patch):
	case series == "2.0":
		return &phoenixV2, ""
	case series == "1.0":
		return &phoenixV1, ""
	}
	return nil, "this vsn is not spoken here: want 2.0.0 or 1.0.0, or the subprotocol chime.v1"
}

// isNumber reports whether s is a number as versions have them.
func isNumber(s string) bool {
	return s == "0" || s != "" && s[0] != '0' && strings.Trim(s, "0123456789") == ""
}
