package presence

import (
	"encoding/json"
	"fmt"
	"slices"
)

// View is what a client makes of the events it is sent: who is present, by key. It is for
// tests, those of an application too. The zero View has seen nothing.
type View struct {
	synced bool // a state has come
	keys   map[string][]json.RawMessage
}

type people map[string]struct {
	Metas []json.RawMessage `json:"metas"`
}

// Take takes an event, and reports whether it is one that tells who is present.
func (v *View) Take(event string, payload []byte) (bool, error) {
	switch event {
	case EventState:
		var state people
		if err := json.Unmarshal(payload, &state); err != nil {
			return true, fmt.Errorf("%s: %w", event, err)
		}
		v.synced, v.keys = true, map[string][]json.RawMessage{}
		v.join(state)
	case EventDiff:
		var diff struct{ Joins, Leaves people }
		if err := json.Unmarshal(payload, &diff); err != nil {
			return true, fmt.Errorf("%s: %w", event, err)
		}
		if !v.synced {
			return true, fmt.Errorf("%s before any %s: %s", event, EventState, payload)
		}
		v.join(diff.Joins)
		return true, v.leave(diff.Leaves)
	default:
		return false, nil
	}
	return true, nil
}

func (v *View) join(joins people) {
	for key, who := range joins {
		v.keys[key] = append(v.keys[key], who.Metas...)
	}
}

// leave is strict: what leaves was there.
func (v *View) leave(leaves people) error {
	for key, who := range leaves {
		for _, meta := range who.Metas {
			i := slices.IndexFunc(v.keys[key], func(m json.RawMessage) bool { return refOf(m) == refOf(meta) })
			if i < 0 {
				return fmt.Errorf("%s: %q leaves with %s, and was not there", EventDiff, key, meta)
			}
			if v.keys[key] = slices.Delete(v.keys[key], i, i+1); len(v.keys[key]) == 0 {
				delete(v.keys, key)
			}
		}
	}
	return nil
}

func refOf(meta json.RawMessage) string {
	var m struct {
		Ref string `json:"phx_ref"`
	}
	_ = json.Unmarshal(meta, &m) // what is no object has none
	return m.Ref
}

// Keys returns the metas by key, and false if nothing has come yet.
func (v *View) Keys() (map[string][]json.RawMessage, bool) { return v.keys, v.synced }
