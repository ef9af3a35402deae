// Package fanout sends what is published in a topic to its members.
//
// A member of a topic with history is a position. One that is behind is sent
// pages of the history, from memory or from the broker, as its queue has room
// for them; at the top, under the topic's lock, it becomes live and is sent what
// is announced. A live member whose queue has no room for a retained message, or
// who has missed one, is behind again. So a join, a slow client and a lost
// announcement are one thing, and each member is sent every retained message
// once and in order, or is told that it can't be.
//
// The package knows no channel, no handler, no transport and no other topic.
package fanout

import (
	"sync"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/task"
)

// Config is what the topics of a node work with.
type Config struct {
	History broker.History // nil: nothing is retained
	Keep    int            // how many messages the history keeps
	Age     time.Duration  // how long it keeps them; 0: for ever
	Replay  int            // how many of the newest most joins want
	Budget  *Budget        // what the tails of all topics may take
	Tasks   *task.Group    // whose goroutines read
}

// Topic is a topic with members. It must be closed when it has none.
type Topic struct {
	name    string
	history broker.History // nil: nothing is retained
	budget  *Budget
	tasks   *task.Group
	first   int           // how many of the newest are read first
	reading chan struct{} // full while a page is read for members
	share   share         // guarded by the budget

	// mu orders what happens in the topic, and guards what follows. It is held
	// for a whole fan-out, over memory operations only, and taken before the
	// locks of an owner, a Pager and a client socket.
	mu       sync.Mutex
	tail     tail
	stale    int  // counts what makes a page stale that is read meanwhile
	suspect  bool // announcements may be missing
	checking bool // that is looked into
	closed   bool

	listing sync.Mutex // members is changed with mu and listing held, and read with either
	members []*Member
}

// New returns a topic without members.
func New(name string, c Config) *Topic {
	t := &Topic{name: name, history: c.History, budget: c.Budget, tasks: c.Tasks}
	if c.History != nil {
		t.tail = tail{keep: c.Keep, age: c.Age}
		t.reading = make(chan struct{}, 1)
		t.first = max(firstMessages, c.Replay)
	}
	return t
}

// Name is the name of the topic.
func (t *Topic) Name() string { return t.name }

// Close gives back what the topic takes of the budget. An announcement that is
// still on its way is ignored.
func (t *Topic) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	if t.history != nil {
		t.tail.drop()
		t.budget.charge(t)
	}
}

// Members calls f with the owner of each member. It does not wait for a fan-out.
func (t *Topic) Members(f func(Owner)) {
	t.listing.Lock()
	defer t.listing.Unlock()
	for _, m := range t.members {
		f(m.owner)
	}
}

// Len is the number of members.
func (t *Topic) Len() int {
	t.listing.Lock()
	defer t.listing.Unlock()
	return len(t.members)
}
