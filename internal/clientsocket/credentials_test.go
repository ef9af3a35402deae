package clientsocket

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestCredentialsAreAList plays clients that come with any of their secrets, break
// and promote, against a list of which secrets are good.
func TestCredentialsAreAList(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		cr := credentials{current: "0"}
		type given struct {
			secret string
			conn   *Connection // nil when it is broken
		}
		var model []given // issued, as they were issued
		current, names := "0", 0
		promoted := 0
		for range 100 {
			switch random.IntN(4) {
			case 0, 1: // a candidate, as ClientSocket.Resume has it
				used := current
				if len(model) > 0 && random.IntN(2) == 0 {
					used = model[random.IntN(len(model))].secret
				}
				names++
				g := given{fmt.Sprint(names), &Connection{line: taking{}}}
				cr.issue(g.secret, g.conn, used)
				model = append(model, g)
				for _, n := range cr.surplus() {
					n.out.closing = true
				}
				dropped := cr.expel()
				if slices.Contains(dropped, g.secret) {
					t.Fatal("the secret that was just issued is dropped")
				}
				if slices.Contains(dropped, used) && len(dropped) < len(model)-maxIssued+1 {
					t.Fatal("the secret that is in use is dropped before others")
				}
				model = slices.DeleteFunc(model, func(g given) bool { return slices.Contains(dropped, g.secret) })
				if len(model) > maxIssued {
					t.Fatalf("%d secrets are issued, want %d or fewer", len(model), maxIssued)
				}
			case 2:
				if len(model) > 0 {
					g := &model[random.IntN(len(model))]
					if g.conn != nil {
						cr.broke(g.conn)
					}
					g.conn = nil
				}
			case 3:
				if len(model) == 0 || random.IntN(3) > 0 {
					break
				}
				at := random.IntN(len(model))
				chosen, dropped, left := cr.promote(cr.find(model[at].secret))
				promoted++
				want := []string{current}
				for _, g := range model[:at] {
					want = append(want, g.secret)
				}
				slices.Sort(want)
				if slices.Sort(dropped); !slices.Equal(dropped, want) || chosen.secret != model[at].secret || chosen.conn != model[at].conn {
					t.Fatalf("promoted %s and dropped %q, want %s and %q", chosen.secret, dropped, model[at].secret, want)
				}
				for _, n := range left {
					if !slices.ContainsFunc(model[:at], func(g given) bool { return g.conn == n && !n.out.closing }) {
						t.Fatal("a connection is left that is no older candidate")
					}
				}
				current = chosen.secret
				model = model[at+1:]
			}
			all := []string{current}
			candidates := 0
			for _, g := range model {
				all = append(all, g.secret)
				if i := cr.find(g.secret); i < 0 || cr.issued[i].conn != g.conn {
					t.Fatalf("secret %s leads to another connection than it was given to", g.secret)
				} else if cr.issued[i].candidate() {
					candidates++
				}
			}
			got := cr.all()
			slices.Sort(got)
			if slices.Sort(all); !slices.Equal(got, all) {
				t.Fatalf("got the secrets %q, want %q", got, all)
			}
			if candidates > maxCandidates {
				t.Fatalf("%d candidates, want %d or fewer", candidates, maxCandidates)
			}
			if !cr.good(current) || cr.good("never issued") {
				t.Fatal("the current secret is not good, or one is that was never issued")
			}
		}
		if names == 0 || promoted == 0 {
			t.Errorf("%d were issued and %d promoted: the schedule shows nothing", names, promoted)
		}
	}
}
