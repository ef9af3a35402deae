package channeltest

import (
	"encoding/json"
	"reflect"

	"github.com/go-chime/chime/internal/presence"
	"github.com/go-chime/chime/internal/wire"
)

// WantPresence waits until no handler runs and all are told of what has changed, and
// then until this client sees these present, by the events that it is sent: a list of
// metas for each key, in the order in which they came, without their refs:
//
//	ann.WantPresence(map[string][]hello{"user:ann": {{"ann"}}, "user:bob": {{"bob"}}})
//
// What the events say is strict: a client that leaves and was not there ends the test.
func (m *Member) WantPresence(keys any) {
	c := m.p.client
	c.t.Helper()
	var want any
	if err := json.Unmarshal(encode(c.t, keys), &want); err != nil {
		c.t.Fatal(err)
	}
	what := "presence " + string(encode(c.t, keys))
	tells := func(f wire.Frame) bool {
		return m.event(f) && (f.Event == presence.EventState || f.Event == presence.EventDiff)
	}
	for {
		c.hub.rests(patience) // or a client that is about to leave would still be seen
		m.see(c.socket.taken(tells)...)
		got := m.present()
		if reflect.DeepEqual(got, want) {
			return
		}
		what := what
		if got != nil {
			what += "; sees " + string(encode(c.t, got))
		}
		m.see(m.take(what, tells))
	}
}

// see has the client see what it was sent.
func (m *Member) see(frames ...wire.Frame) {
	c := m.p.client
	c.t.Helper()
	for _, f := range frames {
		if _, err := m.view.Take(f.Event, f.Payload); err != nil {
			c.t.Fatalf("%s: %v", c.socket.id, err)
		}
	}
}

// present is what the client sees, without refs; nil if it has seen nothing yet.
func (m *Member) present() any {
	keys, synced := m.view.Keys()
	if !synced {
		return nil
	}
	all := map[string]any{}
	for key, metas := range keys {
		list := []any{}
		for _, meta := range metas {
			var fields map[string]any
			_ = json.Unmarshal(meta, &fields) // the view has read its ref
			delete(fields, "phx_ref")
			delete(fields, "phx_ref_prev")
			list = append(list, fields)
		}
		all[key] = list
	}
	return all
}
