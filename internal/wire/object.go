package wire

import (
	"bytes"
	"errors"
	"unicode/utf16"
	"unicode/utf8"
)

var errNotObject = errors.New("frame is not an object")

// fields calls f with each key of an object and its value, both as they are
// written, in one pass that keeps nothing: a map of what a client has written would
// be many times as large. After an error f has been called with part of it.
func fields(data []byte, f func(key, value []byte)) error {
	if !utf8.Valid(data) {
		return errNotUTF8
	}
	end, err := object(data, space(data, 0), func(name []byte, i int) (int, error) {
		_, end := value(data, i, nil)
		if end >= 0 {
			f(name, data[i:end])
		}
		return end, nil
	})
	if err == nil && (end < 0 || space(data, end) != len(data)) {
		err = errNotJSON
	}
	if errors.Is(err, errNotObject) {
		if _, ok := scan(data, nil); !ok {
			err = errNotJSON
		}
	}
	return err
}

// object calls f with each key of the object that begins at i, and the index of the
// value, for the index behind that or -1. It returns the index behind the object, -1
// if it is none, or the first error of f.
func object(data []byte, i int, f func(name []byte, i int) (int, error)) (int, error) {
	if i == len(data) || data[i] != '{' {
		return -1, errNotObject
	}
	if i = space(data, i+1); i < len(data) && data[i] == '}' {
		return i + 1, nil
	}
	for more := true; more; {
		at := i
		if i = key(data, i); i < 0 {
			return -1, nil
		}
		end, err := f(data[at:quoted(data, at)], i)
		if err != nil || end < 0 {
			return -1, err
		}
		i, more = next(data, end, '}')
	}
	return i, nil
}

// same reports whether the string b, as JSON writes it, is the name, which is ASCII.
func same(b []byte, name string) bool {
	const longest = 6 // bytes for a letter, as \u and four digits
	switch text := b[1 : len(b)-1]; {
	case len(text) == len(name):
		return string(text) == name
	case len(text) < len(name), len(text) > longest*len(name):
		return false
	}
	return unquote(b) == name
}

// unquote returns the string b, as JSON writes it, in a fraction of the time of
// encoding/json, which looks whether it is one.
func unquote(b []byte) string {
	b = b[1 : len(b)-1]
	at := bytes.IndexByte(b, '\\')
	if at < 0 {
		return string(b)
	}
	text := make([]byte, 0, len(b))
	for ; at >= 0; at = bytes.IndexByte(b, '\\') {
		text = append(text, b[:at]...)
		c := b[at+1]
		b = b[at+2:]
		if c != 'u' {
			text = append(text, unescaped(c))
			continue
		}
		r := hex(b)
		if b = b[4:]; r < utf8.RuneSelf {
			text = append(text, byte(r))
			continue
		}
		if utf16.IsSurrogate(r) { // one without its other half is no letter
			half := utf8.RuneError
			if len(b) >= 6 && b[0] == '\\' && b[1] == 'u' {
				half = hex(b[2:])
			}
			if r = utf16.DecodeRune(r, half); r != utf8.RuneError {
				b = b[6:]
			}
		}
		text = utf8.AppendRune(text, r)
	}
	return string(append(text, b...))
}

// unescaped is what a backslash and c stand for.
func unescaped(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}

// hex reads four digits.
func hex(b []byte) (r rune) {
	for _, c := range b[:4] {
		if c > '9' {
			c += 9 // the letters, of either case, end in the bits of 1 to 6
		}
		r = r<<4 | rune(c&0xf)
	}
	return r
}
