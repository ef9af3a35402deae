package channeltest

import (
	"errors"
	"reflect"
)

// Part wants a payload that has at least what P has: of an object the members that are in
// P, to any depth, and whatever others. So a test leaves out what it can't know, such as a
// time or an ID:
//
//	ann.WantBroadcast("message_new", channeltest.Part(post{Text: "hi"}))
//
// What else there is, an array too, is compared whole.
func Part(p any) any { return part{p} }

type part struct{ payload any }

// MarshalJSON implements json.Marshaler.
func (part) MarshalJSON() ([]byte, error) {
	return nil, errors.New("a Part is wanted, and can't be sent")
}

// has reports whether got has at least what want has, both as JSON is decoded.
func has(got, want any) bool {
	w, ok := want.(map[string]any)
	if !ok {
		return reflect.DeepEqual(got, want)
	}
	g, ok := got.(map[string]any)
	if !ok {
		return false
	}
	for name, value := range w {
		if there, ok := g[name]; !ok || !has(there, value) {
			return false
		}
	}
	return true
}
