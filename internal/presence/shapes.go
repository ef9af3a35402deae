package presence

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/wire"
)

// MaxMeta bounds what is told of one client, in bytes of JSON: it is sent to all others,
// and to each that comes later.
const MaxMeta = 4 << 10

// The keys of a meta that the library sets.
const (
	refKey  = "phx_ref"
	prevKey = "phx_ref_prev"
)

// CheckKey returns an error that says what is wrong with a key.
func CheckKey(key string) error {
	if !wire.ValidName(key) {
		return fmt.Errorf("key %.80q, of %d bytes: want 1 to %d bytes of UTF-8 without control characters", key, len(key), wire.MaxName)
	}
	return nil
}

// Encode encodes a meta, which must be an object: clients are sent its fields beside
// the refs. Nil is {}. It calls the application's MarshalJSON.
func Encode(meta any) (json.RawMessage, error) {
	text, err := wire.EncodeObject(meta)
	switch {
	case errors.Is(err, wire.ErrNoObject):
		return nil, errors.New("meta is not a JSON object")
	case err != nil:
		return nil, fmt.Errorf("meta: %w", err)
	case len(text) > MaxMeta:
		return nil, fmt.Errorf("meta of %d bytes: want at most %d", len(text), MaxMeta)
	case bytes.Contains(text, []byte(refKey)), bytes.Contains(text, []byte(`\u`)): // which may spell it
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(text, &fields); err != nil {
			return nil, fmt.Errorf("meta: %w", err)
		}
		for _, key := range []string{refKey, prevKey} {
			if _, has := fields[key]; has {
				return nil, fmt.Errorf("meta has %s, which is set for it", key)
			}
		}
	}
	return text, nil
}

// withRefs adds the refs to an encoded meta. Prev is that of what it replaces, or "".
func withRefs(meta json.RawMessage, ref, prev string) json.RawMessage {
	open := bytes.TrimRight(meta[:bytes.LastIndexByte(meta, '}')], " \t")
	b := make([]byte, 0, len(open)+len(ref)+len(prev)+len(`,"phx_ref":"","phx_ref_prev":""}`))
	b = append(b, open...)
	if len(open) > 1 {
		b = append(b, ',')
	}
	b = append(b, `"`+refKey+`":`...)
	b = wire.AppendString(b, ref)
	if prev != "" {
		b = append(b, `,"`+prevKey+`":`...)
		b = wire.AppendString(b, prev)
	}
	return append(b, '}')
}

// diffOf encodes a change. Of each key there is one entry on each side.
func diffOf(c broker.Change) []byte {
	n := 0
	for _, list := range [][]broker.Present{c.Joins, c.Leaves} {
		for _, p := range list {
			n += sizeOf(p)
		}
	}
	b := append(make([]byte, 0, n+32), `{"joins":{`...)
	b = append(appendKeys(b, c.Joins), `},"leaves":{`...)
	return append(appendKeys(b, c.Leaves), `}}`...)
}

// appendKeys appends what is between the braces of an object by key.
func appendKeys(b []byte, list []broker.Present) []byte {
	Sort(list)
	for i := 0; i < len(list); {
		end := i + 1
		for end < len(list) && list[end].Key == list[i].Key {
			end++
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = appendKey(b, list[i].Key, list[i:end])
		i = end
	}
	return b
}

func appendKey(b []byte, key string, metas []broker.Present) []byte {
	b = wire.AppendString(b, key)
	b = append(b, `:{"metas":[`...)
	for i, p := range metas {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, p.Meta...)
	}
	return append(b, `]}`...)
}

// sizeOf is about what p takes in a state.
func sizeOf(p broker.Present) int { return len(p.Key) + len(p.Meta) + len(`"":{"metas":[]},`) }
