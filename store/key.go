package store

import (
	"bytes"
	"fmt"
	"unicode"
	"unicode/utf8"
)

// MaxKey is how many bytes a [Message.Key] may have.
const MaxKey = 255

// CheckKey returns an error for what can't be a [Message.Key]: more than [MaxKey]
// bytes, or text that is not UTF-8 or has a control character.
func CheckKey(key string) error {
	if len(key) > MaxKey {
		return fmt.Errorf("key of %d bytes: want at most %d", len(key), MaxKey)
	}
	if !utf8.ValidString(key) {
		return fmt.Errorf("key %q: want UTF-8", key)
	}
	for _, r := range key {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' { // it would break a log line
			return fmt.Errorf("key %q: want no control character", key)
		}
	}
	return nil
}

// CheckOnce returns an error for a Key or a Sum that can't be one.
func (m *Message) CheckOnce() error {
	err := CheckKey(m.Key)
	if err == nil {
		if err = CheckKey(m.Sum); err != nil {
			err = fmt.Errorf("sum: %w", err)
		}
	}
	return err
}

// Says reports whether m says what other does: if each has a Sum, the same of that, else the
// same event with the same payload.
func (m *Message) Says(other *Message) bool {
	if m.Sum != "" && other.Sum != "" {
		return m.Sum == other.Sum
	}
	return m.Event == other.Event && m.Binary == other.Binary && bytes.Equal(m.Payload, other.Payload)
}
