package brokertest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-chime/chime/broker"
)

func answers(t *testing.T, nodes []*member) {
	at := func(i int) broker.Cluster {
		c, ok := nodes[i].Broker.(broker.Cluster)
		if !ok {
			t.Skipf("%T is no broker.Cluster", nodes[i].Broker)
		}
		return c
	}
	for i := range nodes {
		eventually(t, "nodes", fmt.Sprint([]broker.Node{nodes[0].self, nodes[1].self, nodes[2].self}), func() string {
			list, err := at(i).Nodes(t.Context())
			if err != nil {
				return err.Error()
			}
			slices.SortFunc(list, func(a, b broker.Node) int { return strings.Compare(a.ID, b.ID) })
			return fmt.Sprint(list)
		})
	}
	for _, c := range []struct{ request, body, err string }{
		{"hello", "%s heard hello", ""},
		{strings.Repeat("x", 100_000), "%s heard " + strings.Repeat("x", 100_000), ""},
		{"fail", "", "refused by %s"},
	} {
		list, err := at(0).Ask(t.Context(), []byte(c.request))
		if err != nil || len(list) != 2 {
			t.Fatalf("%.10s: got %d answers, %v, want those of the two others", c.request, len(list), err)
		}
		for _, a := range list {
			wantBody, wantErr := c.body, c.err
			if c.err == "" {
				wantBody = fmt.Sprintf(c.body, a.Node.ID)
			} else {
				wantErr = fmt.Sprintf(c.err, a.Node.ID)
			}
			got := ""
			if a.Err != nil {
				got = a.Err.Error()
			}
			if a.Node.ID == nodes[0].self.ID || string(a.Body) != wantBody || got != wantErr {
				t.Errorf("%.10s: got %.40q, %v from %s, want %.40q, %q", c.request, a.Body, a.Err, a.Node.ID, wantBody, wantErr)
			}
		}
	}
}
