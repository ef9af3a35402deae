package transporttest

import (
	"net/http"
	"strings"
)

// standard are the headers of requests that a careful proxy lets through, in lower case.
// What begins like the last two goes through too.
const standard = " accept accept-encoding accept-language authorization cache-control connection content-length content-type cookie" +
	" host origin proxy-authorization referer upgrade user-agent access-control-request-headers access-control-request-method "

func standardHeaders(r *http.Request, next http.RoundTripper) (*http.Response, error) {
	for name := range r.Header {
		lower := strings.ToLower(name)
		if !strings.Contains(standard, " "+lower+" ") && !strings.HasPrefix(lower, "sec-websocket-") && !strings.HasPrefix(lower, "sec-fetch-") {
			r.Header.Del(name)
		}
	}
	return next.RoundTrip(r)
}

// shortHeaders refuses a longer header than that, the first line included, as nginx does.
func shortHeaders(most int) carrier {
	return func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		size := len(r.Method) + len(r.URL.RequestURI()) + len(" HTTP/1.1\r\n")
		for name, values := range r.Header {
			for _, v := range values {
				size += len(name) + len(v) + len(": \r\n")
			}
		}
		if size > most {
			return answer(r, http.StatusBadRequest, "400 Request Header Or Cookie Too Large"), nil
		}
		return next.RoundTrip(r)
	}
}

// denied is a network to which the page's browser makes no requests.
func denied(r *http.Request, _ http.RoundTripper) (*http.Response, error) {
	if r.Method == http.MethodOptions {
		return answer(r, http.StatusForbidden, "no local network"), nil
	}
	return nil, errNoAnswer
}
