package server

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/go-chime/chime/internal/quiet"
)

// strangers are the pages whose origin was refused, by the host that they asked. Any page
// in the world can be one. Each is named in the log once, with what would let it in. Its
// logger counts those that are too many to be remembered.
type strangers struct{ known quiet.Once[[2]string] }

// name names a page in the log.
func (s *strangers) name(log *slog.Logger, host, origin string) {
	host, origin = strings.Clone(brief(host)), strings.Clone(brief(origin))
	if first, _ := s.known.Add([2]string{host, origin}); !first {
		return
	}
	if !strings.HasPrefix(origin, "http") { // null, or what no browser sends
		log.Warn("origin refused", "host", host, "origin", origin)
		return
	}
	log.Warn("origin refused", "host", host, "origin", origin,
		"allow_with", fmt.Sprintf("WithOrigins(%q)", origin),
		"or_if_a_proxy_changed_the_host", "proxy_set_header Host $http_host;")
}
