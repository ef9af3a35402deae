package server

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
)

// maxStrangers bounds the pages that are remembered. Any page in the world can be one.
const maxStrangers = 64

// strangers are the pages whose origin was refused, by the host that they asked. Each is
// named in the log once, with what would let it in. Its logger counts those that are too
// many to be remembered.
type strangers struct {
	mu    sync.Mutex // guards known
	known map[[2]string]struct{}
}

// name names a page in the log.
func (s *strangers) name(log *slog.Logger, host, origin string) {
	host, origin = strings.Clone(brief(host)), strings.Clone(brief(origin))
	if !s.add([2]string{host, origin}) {
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

// add reports whether a page is to be named.
func (s *strangers) add(page [2]string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.known[page]; known {
		return false
	}
	if s.known == nil {
		s.known = map[[2]string]struct{}{}
	}
	if len(s.known) < maxStrangers {
		s.known[page] = struct{}{}
	}
	return true
}
