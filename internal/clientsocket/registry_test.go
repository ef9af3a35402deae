package clientsocket

import (
	"errors"
	"github.com/go-chime/chime/internal/stats"
	"slices"
	"testing"

	"github.com/go-chime/chime/internal/wire"
	"github.com/go-chime/chime/transport"
)

func TestTheRegistryForgetsWhatHasEnded(t *testing.T) {
	cs := clients(t, transport.Limits{}, nil)
	r := &cs.Registry
	ada, _ := cs.open(t, taking{}, Opening{Dialect: stats.Chime, Identity: transport.Identity{ID: "ada"}})
	bob, _ := cs.open(t, taking{}, Opening{Identity: transport.Identity{ID: "bob"}})
	current := ada.out.credentials.current
	next := &Connection{}
	next.Init(taking{})
	if !ada.Resume(next, current) {
		t.Fatal("the secret of a client socket is not good")
	}
	issued := ada.out.credentials.issued[0].secret
	for secret, want := range map[string]*ClientSocket{current: ada, issued: ada, "": nil, "unknown": nil} {
		if got := r.Find(secret); got != want {
			t.Errorf("Find(%q): got %p, want %p", secret, got, want)
		}
	}
	if got := r.Of("bob"); r.Len() != 2 || !slices.Equal(got, []*ClientSocket{bob}) {
		t.Errorf("got %d client sockets and %d of bob, want 2 and 1", r.Len(), len(got))
	}
	ada.Close(wire.CloseNormal, "bye", transport.Closed)
	if r.Len() != 1 || r.Find(current) != nil || r.Find(issued) != nil || len(r.secrets) > 0 {
		t.Errorf("after the end: %d client sockets and %d secrets, want bob's 1 and none", r.Len(), len(r.secrets))
	}
}

func TestADrainingRegistryTakesNobody(t *testing.T) {
	cs := clients(t, transport.Limits{}, func(transport.ClientSocket) transport.Receiver {
		t.Error("a client was let in")
		return deaf{}
	})
	if list := cs.Registry.Drain(); len(list) > 0 || !cs.Registry.Draining() {
		t.Errorf("got %d client sockets and Draining %v, want none and true", len(list), cs.Registry.Draining())
	}
	n := &Connection{}
	n.Init(taking{})
	if err := cs.Open(&ClientSocket{}, n, Opening{Dialect: stats.Chime}); !errors.Is(err, ErrDraining) || cs.Registry.Len() > 0 {
		t.Errorf("got %v and %d client sockets, want %v and none", err, cs.Registry.Len(), ErrDraining)
	}
	if n.out.listed {
		t.Error("hello is written to a client that is not let in")
	}
}
