package transporttest

import (
	"net/http"
	"slices"
)

// carrier carries a request towards the server, by way of the next, and its answer back.
// The request is the box's own, which may change it.
type carrier func(r *http.Request, next http.RoundTripper) (*http.Response, error)

// through is all of the carriers, the one that is nearest to the client first.
func through(carriers ...carrier) func(http.RoundTripper) http.RoundTripper {
	return func(next http.RoundTripper) http.RoundTripper {
		for _, c := range slices.Backward(carriers) {
			next = leg{c, next}
		}
		return next
	}
}

type leg struct {
	carry carrier
	next  http.RoundTripper
}

func (l leg) RoundTrip(r *http.Request) (*http.Response, error) { return l.carry(r, l.next) }
