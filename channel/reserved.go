package channel

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-chime/chime/internal/presence"
	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/transport"
)

// takes reports whether clients may send an event in a topic of r. By what the hub sends
// itself pages remove, or show, what is not for a client to say, and many a channel
// rebroadcasts whatever comes.
func (r *route) takes(event string) bool {
	return validEvent(event) && r.sends(event) == "" && !r.takesBack(event)
}

// takesBack reports whether Redact or Forget sends the event. The application may as well:
// of what is no longer kept.
func (r *route) takesBack(event string) bool {
	return r.keep != nil && (event == r.redacted || event == r.forgotten)
}

// sends says what of the hub sends an event in a topic of r, which then nobody else does, or
// returns "".
func (r *route) sends(event string) string {
	switch event {
	case presence.EventState, presence.EventDiff:
		if r.present != nil {
			return "the channel has a Presence, which"
		}
	case wire.EventDraftState, wire.EventDraftStart, wire.EventDraftDelta, wire.EventDraftEnd:
		return "a Draft"
	}
	return ""
}

// encode is encode of an event that the application may send in a topic of r.
func (r *route) encode(event string, payload any) (body, error) {
	if who := r.sends(event); who != "" {
		return body{}, fmt.Errorf("event %q: want another, since %s sends that one", event, who)
	}
	return encode(event, payload)
}

// Members of a payload that are Chime's own, as they are in JSON. They are taken out
// before a channel sees the payload.
const (
	memberSince = `"@since"` // of joins
	memberLast  = `"@last"`  // of joins
	memberKey   = `"@key"`   // of all other messages
)

// takeOut takes members out of a payload, and returns those that it has and the rest.
func takeOut(payload json.RawMessage, members ...string) (taken map[string]json.RawMessage, rest json.RawMessage, err error) {
	has := false
	for _, name := range members {
		has = has || bytes.Contains(payload, []byte(name))
	}
	var fields map[string]json.RawMessage
	if !has || payload[0] != '{' || json.Unmarshal(payload, &fields) != nil {
		return nil, payload, nil //nolint:nilerr // what is no object has no members
	}
	for _, quoted := range members {
		name := quoted[1 : len(quoted)-1]
		if text, ok := fields[name]; ok {
			if taken == nil {
				taken = map[string]json.RawMessage{}
			}
			taken[quoted] = text
			delete(fields, name)
		}
	}
	if taken == nil { // it was deeper down
		return nil, payload, nil
	}
	rest, err = wire.EncodeValue(fields) // json.Marshal would escape what the client did not
	return taken, rest, err
}

// takeKey takes @key out of the payload of a message, and makes it the client's own.
func takeKey(payload json.RawMessage, of transport.Identity) (key string, rest json.RawMessage, err error) {
	taken, rest, err := takeOut(payload, memberKey)
	text, ok := taken[memberKey]
	if err != nil || !ok {
		return "", rest, err
	}
	if json.Unmarshal(text, &key) != nil || key == "" || store.CheckKey(key) != nil {
		return "", nil, errBadKey
	}
	return scoped(key, of), rest, nil
}

var errBadKey = errors.New("malformed @key: want 1 to 255 bytes of text without control characters")

// scoped returns a key that no other identity can have: who learns of somebody else's key
// must not be able to use it first. It has the same length for all, and does not tell a
// reader of the history who said what.
func scoped(key string, of transport.Identity) string {
	return "client:" + digest([]byte(of.ID), []byte(key))
}

// digest is a text of 22 bytes that no two lists of parts have in common.
func digest(parts ...[]byte) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write(binary.AppendUvarint(nil, uint64(len(p)))) // else "ab" and "c" would be "a" and "bc"
		h.Write(p)
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16])
}
