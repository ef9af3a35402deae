package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync"
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

// errBuffered is that a middleware holds back what it is given.
var errBuffered = errors.New("a ResponseWriter holds back what it is given")

// wrappers names the types around the innermost ResponseWriter, the outermost first.
func wrappers(w http.ResponseWriter) string {
	var list []string
	for {
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return strings.Join(list, " around ")
		}
		list = append(list, fmt.Sprintf("%T", w))
		w = wrapper.Unwrap()
	}
}

// flush flushes w, to which firstBytes have been written, and reports whether
// something in between holds them back. What has a Flush need not pass them on, and
// what has none is passed over by that of the writer below.
func flush(w http.ResponseWriter, rc *http.ResponseController, plain bool) (buffered bool, err error) {
	inner := innermost(w)
	before, known := bodyBytes(inner)
	if known && before == 0 && !wraps[http.Flusher](w) && !wraps[interface{ FlushError() error }](w) {
		return true, nil
	}
	if err := rc.Flush(); err != nil {
		return false, err
	}
	after, known := bodyBytes(inner)
	if plain {
		return known && after < int64(len(firstBytes)), nil
	}
	return known && after <= before, nil // a compressor has written no more than its head
}

// wraps reports whether a wrapper is an M itself, such as an http.Flusher.
func wraps[M any](w http.ResponseWriter) bool {
	for {
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return false
		}
		if _, is := w.(M); is {
			return true
		}
		w = wrapper.Unwrap()
	}
}

// bodyBytes returns how many bytes of a body have come to a ResponseWriter of
// net/http. No method tells, so its fields are read; of any other type, and of
// one whose fields have another name, nothing is known.
func bodyBytes(inner http.ResponseWriter) (n int64, known bool) {
	for _, name := range []string{"written", "wroteBytes"} { // HTTP/1, HTTP/2
		if f := stateOf(inner, name); f.IsValid() && f.CanInt() {
			return f.Int(), true
		}
	}
	return 0, false
}

// headIsBuffered reports that the head of an answer has not come to a ResponseWriter of
// net/http.
func headIsBuffered(inner http.ResponseWriter) bool {
	f := stateOf(inner, "wroteHeader")
	return f.IsValid() && f.Kind() == reflect.Bool && !f.Bool()
}

// stateOf returns a field of a ResponseWriter of net/http, or nothing.
func stateOf(inner http.ResponseWriter, name string) reflect.Value {
	v := reflect.ValueOf(inner)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct || v.Elem().Type().PkgPath() != "net/http" {
		return reflect.Value{}
	}
	v = v.Elem()
	if state := v.FieldByName("rws"); state.IsValid() && state.Kind() == reflect.Pointer && !state.IsNil() { // HTTP/2
		v = state.Elem()
	}
	return v.FieldByName(name)
}

// obstacles are what keeps clients out that the app has put in their way. The log names
// each once, since every client meets it: there are as many as the app has types.
type obstacles struct {
	log   *slog.Logger
	named sync.Map // by what is not possible, and what is in the way
}

// first reports whether this is said for the first time.
func (o *obstacles) first(what, about string) bool {
	_, before := o.named.LoadOrStore([2]string{what, about}, true)
	return !before
}

// refuse refuses what a ResponseWriter can't do.
func (o *obstacles) refuse(w http.ResponseWriter, what, blocker, can string) {
	o.name(what, blocker, can)
	refuse(w, http.StatusInternalServerError, what+" are not possible here: "+blocker+" can't "+can)
}

const passOn = "pass on what it is given before its handler returns"

// refuseBuffered refuses what those around the innermost ResponseWriter keep from it. If
// that has a head of theirs already, there is only the log.
func (o *obstacles) refuseBuffered(w http.ResponseWriter, what string) {
	inner, by := innermost(w), wrappers(w)
	if !headIsBuffered(inner) {
		o.name(what, by, passOn)
		return
	}
	reason, _ := json.Marshal(what + " are not possible here: " + by + " can't " + passOn)
	inner.Header().Set("Content-Length", strconv.Itoa(len(`{"reason":}`+"\n")+len(reason))) // what they hold must not follow
	o.refuse(inner, what, by, passOn)
	_ = http.NewResponseController(inner).Flush()
}

// name has the log say what is impossible, once.
func (o *obstacles) name(what, blocker, can string) {
	if o.first(what, blocker) {
		o.log.Warn("impossible behind a middleware: a ResponseWriter can't do what is needed", "what", what, "type", blocker, "can_not", can)
	}
}

// encoded has the log say, once for each encoding, what a middleware costs that encodes
// streams.
func (o *obstacles) encoded(w http.ResponseWriter) {
	by := w.Header().Get("Content-Encoding")
	if by != "" && by != "identity" && o.first("encoding", by) {
		o.log.Warn("event streams are encoded by a middleware, which costs its memory and a goroutine for each of them", "encoding", brief(by), "type", wrappers(w))
	}
}
