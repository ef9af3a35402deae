package brokertest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-chime/chime/broker"
)

func presentBetween(t *testing.T, nodes []*member) {
	at := func(i int) broker.Presence {
		p, ok := nodes[i].Broker.(broker.Presence)
		if !ok {
			t.Skipf("%T is no broker.Presence", nodes[i].Broker)
		}
		return p
	}
	who := func(ref string) broker.Present {
		return broker.Present{Key: "key of " + ref, Ref: ref, Meta: fmt.Appendf(nil, `{"phx_ref":%q}`, ref)}
	}
	want := func(refs string, on ...int) {
		t.Helper()
		for _, i := range on {
			eventually(t, "present, on "+nodes[i].self.ID, refs, func() string { return nodes[i].here("a") })
		}
		for i := range nodes {
			eventually(t, "listed, on "+nodes[i].self.ID, refs, func() string {
				list, err := at(i).ListPresence(t.Context(), "a")
				if err != nil {
					return err.Error()
				}
				var got []string
				for _, p := range list {
					if w := who(p.Ref); p.Key != w.Key || string(p.Meta) != string(w.Meta) {
						t.Errorf("listed %+v, want %+v", p, w)
					}
					got = append(got, p.Ref)
				}
				slices.Sort(got)
				return strings.Join(got, " ")
			})
		}
	}
	subscribe(t, at(0), "a")
	at(0).Present("a", broker.Change{Joins: []broker.Present{who("r1")}})
	if got := nodes[0].here("a"); got != "r1" {
		t.Errorf("the node itself knows of %q when Present returns, want r1", got)
	}
	subscribe(t, at(1), "a")
	want("r1", 0, 1)
	at(1).Present("a", broker.Change{Joins: []broker.Present{who("r2"), who("r3")}})
	want("r1 r2 r3", 0, 1)
	at(1).Present("a", broker.Change{Joins: []broker.Present{who("r4")}, Leaves: []broker.Present{who("r2")}})
	want("r1 r3 r4", 0, 1)
	subscribe(t, at(2), "a")
	want("r1 r3 r4", 0, 1, 2)
	at(1).Unsubscribe("a") // with it those leave who are present there
	want("r1", 0, 2)
	at(0).Present("a", broker.Change{Leaves: []broker.Present{who("r1")}})
	want("", 0, 2)
}
