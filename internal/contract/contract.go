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
	// Broker publishes through something else than the broker of one process.
	Broker func(*testing.T, store.Store) broker.Broker
}

// Run runs each behaviour as <behaviour>/<transport>/<dialect>/<store>, wherever
// the three have what it needs.
func Run(t *testing.T, transports []*Transport, stores []Store) {
	for _, b := range slices.Concat(joining, answering, sending, suffering, leaving, remembering, resuming, lasting) {
		t.Run(b.name, func(t *testing.T) {
			for _, tr := range transports {
				for _, kept := range stores {
					if b.isFor(tr, kept) {
						t.Run(tr.Name+"/"+tr.Dialect+"/"+kept.Name, func(t *testing.T) {
							t.Parallel() // while one waits for its disk
							b.run(t, tr, kept)
						})
					}
				}
			}
		})
	}
}

// run plays the script on a stage of its own.
func (b *behaviour) run(t *testing.T, tr *Transport, kept Store) {
	play := func(t *testing.T) {
		var history store.Store
		var way broker.Broker
		if kept.Open != nil {
			history = kept.Open(t)
		}
		if kept.Broker != nil {
			way = kept.Broker(t, history)
		}
		b.script(newStage(t, b, tr, history, way))
	}
	if b.timed {
		synctest.Test(t, play)
	} else {
		play(t)
	}
}
