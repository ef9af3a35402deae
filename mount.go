package chime

import (
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/go-chi/chi/v5"
)

// below returns what of a request's path is below the mount, without the slash
// between them. Where that is, the router says that has matched last: chi or an
// http.ServeMux; after http.StripPrefix, and without any, it is the whole path.
func below(r *http.Request) string {
	at := r.URL.Path
	rctx := chi.RouteContext(r.Context())
	switch {
	case rctx != nil && len(rctx.RoutePatterns) > 0 && r.Pattern == rctx.RoutePattern():
		at = belowChi(r, rctx)
	case r.Pattern != "":
		at = belowServeMux(r)
	}
	return strings.TrimPrefix(at, "/")
}

// belowChi returns what chi has left of the path. Mount and Route leave it in RoutePath,
// Handle as the wildcard, which those two take back.
func belowChi(r *http.Request, rctx *chi.Context) string {
	pattern := rctx.RoutePatterns[len(rctx.RoutePatterns)-1]
	left := rctx.RoutePath
	if !strings.HasSuffix(pattern, "*") {
		if left == "" { // Handle, in the outermost router
			left = r.URL.Path
		}
		return only(left)
	}
	n := min(len(rctx.URLParams.Keys), len(rctx.URLParams.Values)) - 1
	if n >= 0 && rctx.URLParams.Keys[n] == "*" && rctx.URLParams.Values[n] != "" {
		return rctx.URLParams.Values[n]
	}
	if strings.HasSuffix(left, "/") && strings.Count(r.URL.Path, "/") == strings.Count(rctx.RoutePattern(), "/") {
		return "" // Handle in an inner router, whose RoutePath still has the mount itself
	}
	return left
}

// belowServeMux returns what an http.ServeMux has left of the path: what is behind its
// pattern, unless http.StripPrefix has taken that away.
func belowServeMux(r *http.Request) string {
	at := r.URL.EscapedPath()
	left, matched := behind(r.Pattern, at)
	if uri, err := url.ParseRequestURI(r.RequestURI); matched && err == nil && uri.EscapedPath() != at {
		if _, whole := behind(r.Pattern, uri.EscapedPath()); whole {
			matched = false // that was matched: what is left only looks the same
		}
	}
	if !matched {
		return at
	}
	return left
}

// behind returns what is behind the pattern of an http.ServeMux in a path that it
// matches.
func behind(pattern, at string) (left string, matched bool) {
	_, pattern, _ = strings.Cut(pattern, "/") // the method and the host are before it
	left = strings.TrimPrefix(at, "/")
	for {
		want, further, more := strings.Cut(pattern, "/")
		if want == "" && !more || strings.HasSuffix(want, "...}") {
			return left, true
		}
		got, rest, longer := strings.Cut(left, "/")
		name, err := url.PathUnescape(got)
		if err != nil || want != name && !strings.HasPrefix(want, "{") || more != longer {
			return "", false
		}
		if !more {
			return only(at), true
		}
		pattern, left = further, rest
	}
}

// only returns what a pattern without a wildcard at its end leaves of a path: nothing,
// unless the app has routed an endpoint by its name.
func only(at string) string {
	if name := path.Base(at); !strings.HasSuffix(at, "/") {
		if _, known := endpoints[name]; known {
			return name
		}
	}
	return ""
}
