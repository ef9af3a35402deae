package redis

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/redistest"
	"github.com/go-chime/chime/store"
)

var aRight = regexp.MustCompile("`((?:[+~&][^` ]+ ?)+)`")

// rights are those that docs/brokers.md names, in its order: for all, with a Sentinel, with a
// Cluster, to say what messages survive. Their prefix is "mine".
func rights(t *testing.T) (all [4][]string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/brokers.md")
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(page), "- With ACLs")
	line, _, _ = strings.Cut(line, "\n\n")
	found := aRight.FindAllStringSubmatch(line, -1)
	if len(found) != len(all) {
		t.Fatalf("docs/brokers.md has the rights %q, want %d lists", found, len(all))
	}
	for i, f := range found {
		all[i] = strings.Fields(strings.ReplaceAll(f[1], "chime:", "mine:"))
	}
	return all
}

// allow has a server know a user, with these rights.
func allow(t *testing.T, e *redistest.Server, rights ...[]string) {
	t.Helper()
	words := []string{"ACL", "SETUSER", "app", "on", ">secret"}
	for _, r := range rights {
		words = append(words, r...)
	}
	e.Must(t, words...)
}

// useAll does all that a node does.
func useAll(t *testing.T, url string, o Options) {
	t.Helper()
	o.Prefix = "mine"
	b, w := began(t, strings.Replace(url, "//", "//app:secret@", 1), o, "a")
	b.StartPresence(func(string, broker.Change) {})
	b.StartCluster(broker.Node{ID: "one"}, func(context.Context, []byte) ([]byte, error) { return nil, nil })
	p := say("a", "1")
	p.Key = "key"
	at, err := b.Publish(t.Context(), p, &store.Retention{Keep: 3, Age: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	w.wait(t, "a", 1)
	if err := second(b.Publish(t.Context(), say("a", "2"), nil)); err != nil {
		t.Error(err)
	}
	if err := b.Erase(t.Context(), "a", at.Offset); err != nil {
		t.Error(err)
	}
	b.Present("a", joins("r1"))
	redistest.Eventually(t, "r1 is listed", func() bool {
		list, err := b.ListPresence(t.Context(), "a")
		return err == nil && len(list) == 1
	})
	up(t, b, "one")
	if _, err := b.Ask(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if _, err := b.History().(broker.Tops).Tops(t.Context(), []string{"a"}); err != nil {
		t.Error(err)
	}
	redistest.Eventually(t, "the node is well", func() bool { return b.Health(t.Context()) == nil })
	if err := b.nodes.burial(state{id: "none", heard: "0"}); err != nil {
		t.Error(err)
	}
}

// TestWhatAUserMustBeAllowed is that what docs/brokers.md says is enough.
func TestWhatAUserMustBeAllowed(t *testing.T) {
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		all := rights(t)
		e := program.Start(t, "--appendfsync", "no")
		allow(t, e, all[0])
		url := strings.Replace(e.URL(), "//", "//app:secret@", 1)
		if got := open(t, url, Options{Prefix: "mine"}).Caps().Survives; got != broker.SurvivesNothing {
			t.Errorf("without CONFIG and INFO: messages survive %v", got)
		}
		useAll(t, e.URL(), Options{})
		if _, err := Open(t.Context(), url, Options{Prefix: "other"}); err == nil || !strings.Contains(err.Error(), "NOPERM") {
			t.Errorf("another prefix: got %v, want NOPERM", err)
		}
		allow(t, e, all[3])
		if got := open(t, url, Options{Prefix: "mine"}).Caps().Survives; got != broker.SurvivesKill {
			t.Errorf("with CONFIG and INFO: messages survive %v, want %v", got, broker.SurvivesKill)
		}
	})
}

func TestWhatAUserMustBeAllowedWithSentinels(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		t.Parallel()
		all := rights(t)
		master := program.Start(t, "--appendfsync", "no")
		replica := master.Replica(t, "--appendfsync", "no")
		replica.Synced(t, master)
		for _, e := range []*redistest.Server{master, replica} {
			allow(t, e, all[0], all[1])
		}
		url := fmt.Sprintf("redis://%s?master_set=chime", master.Guard(t, "chime").Address())
		useAll(t, url, Options{WaitReplicas: 1})
	})
}

func TestWhatAUserMustBeAllowedInACluster(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, program redistest.Program) {
		t.Parallel()
		all := rights(t)
		servers := program.Fleet(t)
		for _, e := range servers {
			allow(t, e, all[0], all[2])
		}
		useAll(t, servers[0].URL(), Options{})
	})
}
