package forward

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net"
	"net/http"
	"slices"
	"strings"
)

// header is on what was forwarded, which is never forwarded again. Its value is the ID of the
// node that did it and, if the other node has a key, a proof of that and the address from
// which the client came: "k3J9xQ2a QEfo… 203.0.113.9:5060".
const header = "Chime-Forwarded"

// mark says who has forwarded a request to a node, and for whom.
func (f *Forwarder) mark(h http.Header, r *http.Request, to *place) {
	self := f.config.Self.ID
	if to.key == "" {
		h.Set(header, self)
	} else {
		h.Set(header, self+" "+proof(to.key, self, r.RemoteAddr)+" "+r.RemoteAddr)
	}
	for _, name := range []string{"X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-For", "Forwarded"} { // as whoever is before this node says
		if values := r.Header.Values(name); len(values) > 0 {
			h[name] = slices.Clone(values)
		}
	}
	if r.TLS != nil && h.Get("X-Forwarded-Proto") == "" { // or a redirect to https would answer
		h.Set("X-Forwarded-Proto", "https")
	}
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		h.Add("X-Forwarded-For", host)
	} else if r.RemoteAddr != "" { // a middleware has put the address of the client there
		h.Add("X-Forwarded-For", r.RemoteAddr)
	}
}

// Received returns r as of the client for whom another node has forwarded it: RemoteAddr is
// what that one has found there. What anybody may have sent is left as it is: that it was
// forwarded is believed then, which has it not be forwarded, and nothing else.
func (f *Forwarder) Received(r *http.Request) *http.Request {
	from, said, _ := strings.Cut(r.Header.Get(header), " ")
	proven, address, _ := strings.Cut(said, " ")
	key := f.config.Self.Key
	if key == "" || !hmac.Equal([]byte(proven), []byte(proof(key, from, address))) {
		return r
	}
	r = r.WithContext(r.Context())
	r.RemoteAddr = address
	return r
}

// proof is what only those know who know the key of the node that is shown it.
func proof(key, from, address string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(from + " " + address))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16])
}
