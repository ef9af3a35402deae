package server

import (
	"encoding/base64"
	"errors"
	"iter"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/go-chime/chime/internal/wire"
)

// dialect is what a client speaks on a WebSocket. The channel side never
// learns which.
type dialect struct {
	name        string
	subprotocol string // echoed if the client offers it
	text        func([]byte) (wire.Frame, error)
	binary      func([]byte) (wire.Frame, error)
	encode      func(b []byte, m *wire.Message, to string) []byte
	timing      timing
	lenient     bool   // what can't be decoded is ignored, not the end of the connection
	endsWith    string // an event the dialect has no words for, which ends the connection instead
}

// timing says when something is due on a connection. Zero is never.
type timing struct {
	heartbeat time.Duration // how long nothing may be written before a heartbeat is
	silence   time.Duration // how long nothing may be read
	pulse     []byte        // written every heartbeat in place of one, whatever else is written
}

var (
	phoenixV2 = dialect{
		name: "phoenix v2", subprotocol: protocolPhoenix, text: wire.Decode, binary: wire.DecodeBinary,
		encode: func(b []byte, m *wire.Message, to string) []byte { return m.AppendWebSocket(b, false, to) },
		timing: timing{silence: phoenixSilence},
	}
	phoenixV1 = dialect{
		name: "phoenix v1", subprotocol: protocolPhoenix, text: wire.DecodeV1, binary: noBinary,
		encode: func(b []byte, m *wire.Message, _ string) []byte { return m.AppendV1(b) },
		timing: timing{silence: phoenixSilence},
	}
	chimeV1 = dialect{
		name: "chime", subprotocol: protocolChime, text: wire.Decode, binary: wire.DecodeBinary,
		encode: func(b []byte, m *wire.Message, _ string) []byte { return m.AppendWebSocket(b, true, "") },
		timing: timing{heartbeat: defaultHeartbeat, silence: 2*defaultHeartbeat + silenceSlack},
	}
	// An Amber client knows neither replies nor errors. One whose handler
	// panicked would wait in a topic that it has lost: it is made to connect anew.
	amber = dialect{
		name: "amber", text: wire.DecodeAmber, binary: noBinary,
		encode:  func(b []byte, m *wire.Message, _ string) []byte { return m.AppendAmber(b) },
		timing:  timing{heartbeat: amberHeartbeat, silence: 2*amberHeartbeat + silenceSlack, pulse: wire.AmberHeartbeat},
		lenient: true, endsWith: wire.EventError,
	}
)

var errBinary = errors.New("binary frames are not part of this dialect")

func noBinary([]byte) (wire.Frame, error) { return wire.Frame{}, errBinary }

func (d *dialect) decode(kind websocket.MessageType, data []byte) (wire.Frame, error) {
	if kind == websocket.MessageBinary {
		return d.binary(data)
	}
	return d.text(data)
}

// Subprotocols that clients offer.
const (
	protocolChime   = "chime.v1"
	protocolPhoenix = "phoenix"
	protocolToken   = "base64url.bearer.phx." // what follows is a token; never echoed, never logged
	protocolSecret  = "chime.secret."         // what follows is a secret; the same
)

const headerProtocol = "Sec-WebSocket-Protocol"

// maxProtocols bounds what is read of them, in bytes: a token has some thousands.
const maxProtocols = 16 << 10

// offersTooMuch reports whether the subprotocols of a request are longer than those of any client.
func offersTooMuch(r *http.Request) bool {
	n := 0
	for _, value := range r.Header.Values(headerProtocol) {
		n += len(value)
	}
	return n > maxProtocols
}

// offered returns the subprotocols of a request, one after the other: a list of
// them would be large if they are many and short.
func offered(r *http.Request) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, value := range r.Header.Values(headerProtocol) {
			for part := range strings.SplitSeq(value, ",") {
				if !yield(strings.TrimSpace(part)) {
					return
				}
			}
		}
	}
}

func offers(r *http.Request, subprotocol string) bool {
	for part := range offered(r) {
		if part == subprotocol {
			return true
		}
	}
	return false
}

// echo returns what to answer of the subprotocols that r offers.
func (d *dialect) echo(r *http.Request) []string {
	if d.subprotocol != "" && offers(r, d.subprotocol) {
		return []string{d.subprotocol}
	}
	return nil
}

// dialectOf finds out what a WebSocket client speaks: chime.v1 if it offers
// that, else what vsn says. A reason says why it can't be served.
func dialectOf(r *http.Request) (d *dialect, reason string) {
	if offers(r, protocolChime) {
		return &chimeV1, ""
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

// subprotocolSecret returns the secret of a client that resumes, or "".
func subprotocolSecret(r *http.Request) string {
	for part := range offered(r) {
		if secret, ok := strings.CutPrefix(part, protocolSecret); ok {
			return secret
		}
	}
	return ""
}

// isNumber reports whether s is a number as versions have them.
func isNumber(s string) bool {
	return s == "0" || s != "" && s[0] != '0' && strings.Trim(s, "0123456789") == ""
}

// SubprotocolToken returns the token that a browser's WebSocket offers as a
// subprotocol, where it can set no header. Phoenix clients write it in the
// standard alphabet of base64 without padding, ours in the URL's; both are read.
func SubprotocolToken(r *http.Request) string {
	for part := range offered(r) {
		text, ok := strings.CutPrefix(part, protocolToken)
		if !ok {
			continue
		}
		text = strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(text, "="))
		if token, err := base64.RawURLEncoding.DecodeString(text); err == nil {
			return string(token)
		}
	}
	return ""
}
