package dialect

import (
	"encoding/base64"
	"iter"
	"net/http"
	"strings"
)

// Subprotocols that clients offer.
const (
	protocolChime   = "chime.v1"
	protocolPhoenix = "phoenix"
	protocolToken   = "base64url.bearer.phx." // what follows is a token; never echoed, never logged
	protocolSecret  = "chime.secret."         // what follows is a secret; the same
)

const headerProtocol = "Sec-WebSocket-Protocol"

// MaxBytes bounds the subprotocols of a request: a token has some thousands.
const MaxBytes = 16 << 10

// OffersTooMuch reports whether the subprotocols of a request are over MaxBytes.
func OffersTooMuch(r *http.Request) bool {
	n := 0
	for _, value := range r.Header.Values(headerProtocol) {
		n += len(value)
	}
	return n > MaxBytes
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

// Secret returns the secret of a client that resumes, or "".
func Secret(r *http.Request) string {
	for part := range offered(r) {
		if secret, ok := strings.CutPrefix(part, protocolSecret); ok {
			return secret
		}
	}
	return ""
}

// Token returns the token that a browser's WebSocket offers as a
// subprotocol, where it can set no header. Phoenix clients write it in the
// standard alphabet of base64 without padding, ours in the URL's; both are read.
func Token(r *http.Request) string {
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
