package server

import (
	"net/http"
	"net/netip"
	"time"

	"github.com/go-chime/chime/internal/pace"
	"github.com/go-chime/chime/transport"
)

// toll bounds how often something may be asked for: by each identity, and by each
// address from which anonymous clients come.
type toll struct{ named, strange *pace.Ledger }

func newToll(perIdentity, perAddress int) toll {
	return toll{pace.NewLedger(pace.Of(perIdentity, 0)), pace.NewLedger(pace.Of(perAddress, 0))}
}

// try returns how long a request has to wait, or 0 if it may come.
func (t *toll) try(id transport.Identity, r *http.Request) time.Duration {
	switch {
	case id.ID != "":
		return t.named.Try(id.ID)
	case t.strange.Counts():
		return t.strange.Try(addressOf(r))
	}
	return 0
}

// addressOf is what the anonymous clients of an address are counted by, or "" if it is
// none, as that of a Unix socket: all who come by it would be one. Of IPv6 it is the
// network of 64 bits, which is what one subscriber has.
func addressOf(r *http.Request) string {
	at, err := netip.ParseAddr(r.RemoteAddr) // as RealIP leaves it
	if err != nil {
		both, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil {
			return ""
		}
		at = both.Addr()
	}
	if at = at.Unmap(); at.Is4() {
		return at.String()
	}
	network, err := at.Prefix(64)
	if err != nil {
		return ""
	}
	return network.String()
}
