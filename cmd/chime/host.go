package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// ownHost keeps pages out that reach a server on this machine alone by a name of
// their own: a page may have its name lead to 127.0.0.1 once it is loaded (DNS
// rebinding), and then its Origin is the Host. Only the names of this machine and
// those of the origins that --origin gives are answered.
func ownHost(origins []string, log *slog.Logger, next http.Handler) http.Handler {
	named := map[string]bool{}
	for _, o := range origins {
		if u, err := url.Parse(o); err == nil { // checkOrigin has read it
			named[strings.ToLower(u.Hostname())] = true
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A browser always says a name; a health check may say none.
		if host := hostname(r.Host); host != "" && !isLoopback(host) && !named[host] {
			remedy := "--origin http://" + shortName(r.Host)
			log.Info("request refused: unknown host", "host", shortName(r.Host), "remedy", remedy)
			refuse(w, http.StatusMisdirectedRequest, fmt.Sprintf("this server is not known as %s: if a proxy calls it that, start it with %s as well", shortName(r.Host), remedy))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hostname returns the host of a Host header, without its port.
func hostname(hostport string) string {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	return strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
}

func isLoopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") { // RFC 6761, section 6.3
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// shortName is for logs and answers: a client may choose a long one.
func shortName(s string) string {
	const most = 100
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
