// Package origin decides from which web pages a request may come. Cookies travel
// with any page's WebSocket and POST, so a page of a foreign origin must be
// refused on every half of a transport. It answers no request: the server does.
package origin

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Rules say which origins are allowed besides the server's own.
type Rules struct {
	full  map[string]bool // "https://app.example.com"
	hosts map[string]bool // "app.example.com", whatever the scheme
}

// Parse reads origins of the form https://host[:port] or host[:port].
func Parse(list []string) (Rules, error) {
	o := Rules{full: map[string]bool{}, hosts: map[string]bool{}}
	for _, s := range list {
		text, scheme := s, strings.Contains(s, "://")
		if !scheme {
			text = "https://" + s
		}
		u, err := url.Parse(text)
		if err != nil {
			return o, fmt.Errorf("origin %q: %w", s, err)
		}
		if u.Hostname() == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil || strings.Contains(u.Host, "*") {
			return o, fmt.Errorf("origin %q: %w", s, errForm)
		}
		switch {
		case !scheme:
			o.hosts[strings.ToLower(u.Host)] = true
		case u.Scheme == "ws" || u.Scheme == "wss":
			return o, fmt.Errorf("origin %q: %w", s, errScheme)
		default:
			o.full[u.Scheme+"://"+shortHost(u.Scheme, u.Host)] = true
		}
	}
	return o, nil
}

var (
	errForm   = errors.New("want https://host[:port] or host[:port], without a path or a *")
	errScheme = errors.New("an origin is that of a page: want https or http")
)

// shortHost returns a host in lower case, without the port that its scheme has
// anyway: browsers leave it out of Origin.
func shortHost(scheme, host string) string {
	host = strings.ToLower(host)
	switch scheme {
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	}
	return host
}

// Allow reports whether r may come from where it says it does. A browser that
// sends Sec-Fetch-Site has already compared; without it Origin must equal Host.
// A client that sends neither is no browser, and carries nobody's cookies.
func (o Rules) Allow(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin":
		return true
	case "cross-site", "same-site":
		return o.named(origin)
	}
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	if err == nil && u.Hostname() != "" && shortHost(u.Scheme, u.Host) == shortHost(u.Scheme, r.Host) {
		return true
	}
	return o.named(origin) // "null" names nothing
}

func (o Rules) named(origin string) bool {
	u, err := url.Parse(origin)
	if err != nil || u.Hostname() == "" {
		return false
	}
	short := shortHost(u.Scheme, u.Host)
	if o.full[u.Scheme+"://"+short] || o.hosts[short] {
		return true
	}
	switch u.Scheme { // a host named with the port that the scheme has anyway
	case "https":
		return o.hosts[short+":443"]
	case "http":
		return o.hosts[short+":80"]
	}
	return false
}
