package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// patience is how long an answer may take that nobody holds back.
const patience = 5 * time.Second

// mountText is how the answer of a mount begins.
const mountText = "chime: connect below this path"

// head is the beginning of an answer.
type head struct {
	status int
	header http.Header
	proto  string
	body   string
	err    error // there is no answer
	after  time.Duration
}

func (h head) String() string {
	if h.err != nil {
		return "no answer: " + plain(h.err)
	}
	text := fmt.Sprintf("%d %s", h.status, http.StatusText(h.status))
	if by := h.by(); by != "" {
		text += " by " + by
	}
	return text
}

// by is who says that it has answered.
func (h head) by() string {
	var names []string
	for _, field := range []string{"Via", "Server"} {
		if v := h.header.Get(field); v != "" {
			names = append(names, v)
		}
	}
	return strings.Join(names, ", ")
}

// plain is an error without the URL that net/http puts in front of it.
func plain(err error) string {
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "nothing came"
	}
	return err.Error()
}

// reach finds out whether anything gets through, and who answers.
func (x *exam) reach() (through bool, err error) {
	client := x.client(false)
	h := x.ask(client, http.MethodGet, "/", "")
	switch {
	case h.err != nil:
		if _, nobody := errors.AsType[*net.OpError](h.err); nobody && !errors.Is(h.err, io.EOF) {
			if _, tlsFailed := errors.AsType[*tls.CertificateVerificationError](h.err); !tlsFailed {
				return false, fmt.Errorf("%s: want a server that answers", plain(h.err))
			}
		}
		if _, tlsFailed := errors.AsType[*tls.CertificateVerificationError](h.err); tlsFailed {
			return false, fmt.Errorf("%s: want a certificate that this machine trusts", plain(h.err))
		}
		preflight := x.ask(client, http.MethodOptions, "sse", "", "Access-Control-Request-Method", "POST")
		x.note("server", "answers", "no: %s; to a preflight: %s", h, preflight)
		x.fault(nothingPasses, "requests are given no answer (%s), and a preflight is answered with %s", plain(h.err), preflight)
		return false, nil
	case h.status == http.StatusNotFound:
		return false, fmt.Errorf("%s: want the URL at which a router is mounted%s", h, x.mounted())
	case !strings.HasPrefix(h.body, mountText):
		if at := x.mounted(); at != "" { // the page of a site
			return false, fmt.Errorf("%s is no router's: want the URL at which one is mounted%s", h, at)
		}
	}
	x.note("server", "answers", "%s, after %s, on %s", h, short(h.after), h.proto)
	if x.base.Scheme == "https" {
		x.note("server", "TLS", "yes, with %s", h.proto)
	} else {
		x.note("server", "TLS", "no: what is not encrypted, more boxes look into")
	}
	if !strings.HasPrefix(h.body, mountText) {
		x.fault(foreignAnswer, "%s is not what a mount of chime says: %.80q", h, h.body)
		return false, nil
	}
	if h.proto == "HTTP/1.0" {
		x.fault(oldHTTP, "answers come as HTTP/1.0: each takes a connection of its own")
	}
	return true, nil
}

// mounts are the paths at which most sites mount a Router, as far as documents of chime,
// Phoenix and Amber say.
var mounts = []string{"socket", "live", "chime", "ws"}

// mounted is where below the URL a Router answers, to be said behind an error, or "".
func (x *exam) mounted() string {
	for _, path := range mounts {
		if h := x.ask(x.client(false), http.MethodGet, path+"/", ""); h.err == nil && strings.HasPrefix(h.body, mountText) {
			return ", which is " + x.base.JoinPath(path).String()
		}
	}
	return ""
}

// origin finds out whether the server sees the host that clients use. The error says that
// it wants another token.
func (x *exam) origin() error {
	h := x.ask(x.client(false), http.MethodGet, "websocket", "") // the origin is looked at before all else
	if h.err == nil && h.header.Get("Cache-Control") == "" && h.header.Get("X-Content-Type-Options") == "" {
		x.fault(answersRemade, "the header of an answer has nothing of what the server writes: somebody else has made it, such as a service worker")
	}
	switch own := x.base.Scheme + "://" + x.base.Host; {
	case h.status == http.StatusForbidden && strings.Contains(h.body, "origin"):
		x.foreign = true
		x.note("server", "origin", "%s is refused: the server sees another Host than %s", own, x.base.Host)
		x.fault(otherHost, "a page of %s is refused as one of a foreign origin: the Host that the server sees is not %s", own, x.base.Host)
	default:
		x.note("server", "origin", "%s is let in, and the server sees it as Host", own)
	}
	// Asked for no topic, a stream is refused at once, but not before the token was looked at.
	if h := x.ask(x.client(false), http.MethodGet, "sse", "", "Accept", "text/event-stream"); h.status == http.StatusUnauthorized {
		return fmt.Errorf("%s: want a token that the server knows", h)
	}
	return nil
}

// short is a time for people.
func short(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return d.Round(time.Millisecond).String()
	default:
		return d.Round(time.Second).String()
	}
}
