package channel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// Events is a HandleMessage made of a handler for each event. A Channel embeds it, and
// has all of them before Router.Channel is called. An event that it does not have is
// refused: "unknown event".
type Events []Event

// Event is what On makes.
type Event struct {
	name   string
	handle func(ctx context.Context, s *Socket, m Message) (any, error)
}

// HandleMessage calls the handler of the message's event.
func (es Events) HandleMessage(ctx context.Context, s *Socket, m Message) (any, error) {
	for _, e := range es {
		if e.name == m.Event {
			return e.handle(ctx, s, m)
		}
	}
	return nil, errUnknownEvent
}

var errUnknownEvent = Refuse("unknown event")

// names are the events of es. A channel that embeds es has this method too.
func (es Events) names() []string {
	var list []string
	for _, e := range es {
		list = append(list, e.name)
	}
	return list
}

// check names a mistake in es. A channel that embeds es has this method too.
func (es Events) check() error {
	if len(es) == 0 {
		return errNoEvents
	}
	for i, e := range es {
		switch {
		case e.handle == nil:
			return errors.New("Events has one without a handler: want those that On makes")
		case !validEvent(e.name):
			return badEvent(e.name)
		}
		for _, f := range es[:i] {
			if f.name == e.name {
				return fmt.Errorf("event %q: it has two handlers: want one", e.name)
			}
		}
	}
	return nil
}

var errNoEvents = errors.New("Events is empty: want channel.On for each event, or channel.ListenOnly")

// On returns the handler of an event whose payload is a T. What handle returns is what
// HandleMessage would return.
//
// A payload that is no T is refused, and the client reads which field is wrong. If T is
// a struct, a field of it that the payload must have is one that is neither a pointer nor
// has omitempty or omitzero in its json tag; fields that T does not have are ignored, as
// a newer page may send them to an older server. If *T has a method Validate() error, its
// error refuses the payload; the client reads the reason of one made by Refuse. If T is
// Binary the payload must be bytes; if T is Message it is what HandleMessage would get.
func On[T any](event string, handle func(ctx context.Context, s *Socket, in T) (any, error)) Event {
	must := required(reflect.TypeFor[T]())
	if handle == nil {
		return Event{name: event}
	}
	return Event{event, func(ctx context.Context, s *Socket, m Message) (any, error) {
		var in T
		switch p := any(&in).(type) {
		case *Message:
			*p = m
		case *Binary:
			if m.Binary == nil {
				return nil, Refuse("payload is JSON, want binary")
			}
			*p = m.Binary
		default:
			if err := m.decode(&in, must); err != nil {
				return nil, err
			}
		}
		if v, ok := any(&in).(interface{ Validate() error }); ok {
			if err := v.Validate(); err != nil {
				return nil, err
			}
		}
		return handle(ctx, s, in)
	}}
}

// decode is Decode of an object that must have some fields.
func (m Message) decode(v any, must []string) error {
	if err := m.Decode(v); err != nil || len(must) == 0 {
		return err
	}
	var has map[string]json.RawMessage
	if json.Unmarshal(m.Payload, &has) != nil { // null, which decodes into anything
		return Refuse("malformed payload: want an object")
	}
next:
	for _, name := range must {
		if _, ok := has[name]; ok {
			continue
		}
		for given := range has { // encoding/json takes it in any case
			if strings.EqualFold(given, name) {
				continue next
			}
		}
		return Refuse("malformed payload: " + name + ": missing")
	}
	return nil
}

// required returns the names of the fields that a payload must have to be a t.
func required(t reflect.Type) []string {
	if t.Kind() != reflect.Struct || t == reflect.TypeFor[Message]() || reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return nil
	}
	var names []string
	for f := range t.Fields() {
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		kind := f.Type.Kind()
		switch {
		case f.Anonymous && tag == "" && kind == reflect.Struct: // its fields are those of t
			names = append(names, required(f.Type)...)
		case !f.IsExported(), tag == "-" && options == "", kind == reflect.Pointer,
			strings.Contains(options, "omitempty"), strings.Contains(options, "omitzero"):
		case tag == "":
			names = append(names, f.Name)
		default:
			names = append(names, tag)
		}
	}
	return names
}
