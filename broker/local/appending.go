package local

import (
	"sync"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

// appending is a message from the call of a store's Append until its return. It has what the
// store does not know of it.
type appending struct {
	announce func(store.Message) // what the store calls, made once

	local              *local
	order              *order // that it is added to; before that, what its topic had; nil: none
	epoch, topic, from string
	done               bool // it is appended
}

// appends are those that are used again: one that is made for each message would be most of
// what a broadcast to few members allocates.
var appends = sync.Pool{New: func() any {
	a := new(appending)
	a.announce = a.appended
	return a
}}

// free has a used again, of which nothing remains.
func (a *appending) free() {
	*a = appending{announce: a.announce}
	appends.Put(a)
}

// appended puts m behind what is to be announced in its topic.
func (a *appending) appended(m store.Message) {
	a.done = true
	p := broker.Publication{Message: m, Epoch: a.epoch, Topic: a.topic, From: a.from}
	if a.order != nil && a.order.add(&p) {
		return
	}
	// Looked up here, and not only before: whoever subscribes later reads a history that
	// has this message, and whoever has subscribed by now is told.
	if a.order = a.local.order(a.topic); a.order != nil {
		a.order.add(&p)
	}
}
