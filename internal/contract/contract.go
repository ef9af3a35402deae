// Package contract holds what a channel and its clients are promised, each
// promise as one script that is run on every transport, in every dialect and over
// every store that has it. The table of these is in router_test.go of the module.
//
// A script plays on a stage: a Router in an application on a real server, with a
// room whose handlers it replaces, and clients that all speak one dialect.
package contract

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

// Store is where the histories of a run are kept.
type Store struct {
	Name string
	Open func(*testing.T) store.Store // nil: the Router has no store
	// Brokers publish through something else than the broker of one process, each for one
	// node.
	Brokers func(*testing.T, store.Store) []broker.Broker
}

// Sample is Run of each behaviour on a few of the transports, each on others.
func Sample(t *testing.T, few int, transports []*Transport, stores []Store) {
	for i, b := range behaviours() {
		possible := slices.DeleteFunc(slices.Clone(transports), func(tr *Transport) bool {
			return !slices.ContainsFunc(stores, func(kept Store) bool { return b.isFor(tr, kept) })
		})
		var some []*Transport
		for n := range min(few, len(possible)) {
			some = append(some, possible[(i*few+n)%len(possible)])
		}
		t.Run(b.name, func(t *testing.T) { b.runOn(t, some, stores) })
	}
}

// Run runs each behaviour as <behaviour>/<transport>/<dialect>/<store>, wherever
// the three have what it needs.
func Run(t *testing.T, transports []*Transport, stores []Store) {
	for _, b := range behaviours() {
		t.Run(b.name, func(t *testing.T) { b.runOn(t, transports, stores) })
	}
}

func behaviours() []behaviour {
	return slices.Concat(joining, membership, present, answering, sending, publishing, suffering, leaving, remembering, takingBack, older, resuming, lasting, drafting, rewriting)
}

func (b *behaviour) runOn(t *testing.T, transports []*Transport, stores []Store) {
	for _, tr := range transports {
		for _, kept := range stores {
			if b.isFor(tr, kept) {
				where := tr.Name + "/" + tr.Dialect + "/" + kept.Name
				if tr.network != nil {
					where = tr.network.Name + "/" + where
				}
				t.Run(where, func(t *testing.T) {
					t.Parallel() // while one waits for its disk
					b.run(t, tr, kept)
				})
			}
		}
	}
}

// run plays the script on a stage of its own.
func (b *behaviour) run(t *testing.T, tr *Transport, kept Store) {
	play := func(t *testing.T) {
		var history store.Store
		var nodes []broker.Broker
		if kept.Open != nil {
			history = kept.Open(t)
		}
		if kept.Brokers != nil {
			nodes = kept.Brokers(t, history)
		}
		b.script(newStage(t, b, tr, history, nodes))
	}
	if b.timed {
		synctest.Test(t, play)
	} else {
		play(t)
	}
}
