package server

import (
	"fmt"
	"net/http"
)

// innermost returns the ResponseWriter below all wrappers. It decides what is
// possible: a wrapper often has a Flush or a Hijack of its own, which does
// nothing or fails when what it wraps has none.
func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = wrapper.Unwrap()
	}
}

// cannotFlush names the type that keeps w from flushing, or returns "".
func cannotFlush(w http.ResponseWriter) string {
	switch inner := innermost(w).(type) {
	case interface{ FlushError() error }, http.Flusher:
		return ""
	default:
		return fmt.Sprintf("%T", inner)
	}
}

// cannotHijack names the type that keeps w from being hijacked, or returns "".
// It is asked before the answer begins: after 101 it is too late for an error.
func cannotHijack(w http.ResponseWriter) string {
	switch inner := innermost(w).(type) {
	case http.Hijacker:
		return ""
	default:
		return fmt.Sprintf("%T", inner)
	}
}
