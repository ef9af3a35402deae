package transport

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// origins decides from which web pages a request may come. Cookies travel with
// any page's WebSocket and POST, so a page of a foreign origin must be refused
// on every half of a transport.
type origins struct {
	full  map[string]bool // "https://app.example.com"
	hosts map[string]bool // "app.example.com", whatever the scheme
}

// parseOrigins reads origins of the form https://host[:port] or host[:port].
func parseOrigins(list []string) (origins, error) {
	o := origins{full: map[string]bool{}, hosts: map[string]bool{}}
	for _, s := range list {
		text, scheme := s, strings.Contains(s, "://")
		if !scheme {
			text = "https://" + s
		}
		u, err := url.Parse(text)
		if err != nil {
			return o, fmt.Errorf("origin %q: %w", s, err)
		}
		if u.Host == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil || strings.Contains(u.Host, "*") {
			return o, fmt.Errorf("origin %q: %w", s, errOriginForm)
		}
		if scheme {
			o.full[strings.ToLower(u.Scheme+"://"+u.Host)] = true
		} else {
			o.hosts[strings.ToLower(u.Host)] = true
		}
	}
	return o, nil
}

var errOriginForm = errors.New("want https://host[:port] or host[:port], without a path or a *")

// allow reports whether r may come from where it says it does. A browser that
// sends Sec-Fetch-Site has already compared; without it Origin must equal Host.
// Who sends neither is no browser, and carries nobody's cookies.
func (o origins) allow(r *http.Request) bool {
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
	if err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host) {
		return true
	}
	return o.named(origin) // "null" names nothing
}

func (o origins) named(origin string) bool {
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return false
	}
	return o.full[strings.ToLower(u.Scheme+"://"+u.Host)] || o.hosts[strings.ToLower(u.Host)]
}
