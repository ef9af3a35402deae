package redis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/go-chime/chime/broker"
)

const (
	// channelsAtOnce is how many channels one command subscribes to.
	channelsAtOnce = 500
	// beatEvery is how often a node says that it is up, and that it hears. After silentBeats
	// of them a connection is broken, and after deadBeats a node is gone.
	beatEvery   = 3 * time.Second
	silentBeats = 3
	deadBeats   = 5
	// maxReconnect is the longest that a feed waits before it connects again.
	maxReconnect = 2 * time.Second
)

var errNotYet = errors.New("not connected yet")

// hears is told what comes by a channel. Its methods must not block.
type hears interface {
	add(text string)
	lose() // some may not have come
}

// feed is a connection by which a node is told what is announced, and what it is to hear.
// It is made again when it breaks, and everybody told then that something may be missing.
// It breaks when nothing comes by it: the node sends beats to itself, the way all
// announcements go. Else a connection to a master that was replaced would be silent for ever.
type feed struct {
	engine *engine
	again  func()        // is called when the feed is there again
	wake   chan struct{} // something is to do

	mu       sync.Mutex // guards what follows
	channels map[string]*listener
	todo     map[string]bool // channels of which the engine is to be told
	left     int             // how many confirmations the last commands still await
	settled  chan struct{}   // closed when that is none
	beats    time.Time       // when the last one came
	down     error           // why there is none
	deaf     bool            // there was one, and the log knows of its end
	link     int             // which connection this is: of one that ended something may still come
	closed   bool
}

// listener is who hears a channel.
type listener struct {
	hears     hears
	live      bool          // it hears: what comes before is of those who heard before
	ever      bool          // it did once
	confirmed chan struct{} // closed then
}

func newFeed(e *engine, again func()) *feed {
	f := &feed{
		engine: e, again: again, wake: make(chan struct{}, 1), channels: map[string]*listener{}, todo: map[string]bool{},
		down: errNotYet,
	}
	f.channels[e.names.beats(e.id)] = &listener{hears: beats{f}, confirmed: make(chan struct{})}
	return f
}

// subscribe returns when h hears what is published by a channel.
func (f *feed) subscribe(ctx context.Context, name string, h hears) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, f.engine.giveUp)
	defer cancel()
	c := &listener{hears: h, confirmed: make(chan struct{})}
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return errClosed
	}
	f.channels[name] = c
	f.tell(name)
	f.mu.Unlock()
	select {
	case <-c.confirmed:
		return nil
	case <-ctx.Done():
	case <-f.engine.ctx.Done():
		return errClosed
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.ever { // in this moment
		return nil
	}
	if f.channels[name] == c {
		delete(f.channels, name)
		f.tell(name)
	}
	err := context.Cause(ctx)
	if f.down != nil {
		err = fmt.Errorf("%w: %w", err, f.down)
	}
	return fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
}

// unsubscribe returns who has heard.
func (f *feed) unsubscribe(name string) hears {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.channels[name]
	if c == nil {
		return nil
	}
	delete(f.channels, name)
	f.tell(name)
	return c.hears
}

// tell has the engine told of a channel. f.mu is held.
func (f *feed) tell(name string) {
	f.todo[name] = true
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// all calls g with everybody who hears.
func (f *feed) all(g func(hears)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.channels {
		g(c.hears)
	}
}

// health is why nothing is heard, or nil.
func (f *feed) health() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.down
}

// close ends all announcements, after those that go on.
func (f *feed) close() {
	f.mu.Lock()
	f.closed = true
	list := slices.Collect(maps.Values(f.channels))
	f.mu.Unlock()
	for _, c := range list {
		if o, ok := c.hears.(*order); ok {
			o.close()
		}
	}
}

// run connects, again and again, until the broker is closed.
func (f *feed) run() {
	for tries := 0; ; tries++ {
		began := time.Now()
		err := f.connect()
		if f.engine.ctx.Err() != nil {
			return
		}
		f.mu.Lock()
		first := f.down == nil
		f.down, f.deaf = err, f.deaf || first
		f.link++
		for _, c := range f.channels {
			c.live = false
		}
		f.mu.Unlock()
		if first && f.engine.deaf.Add(1) == 1 {
			f.engine.log.Warn("broker/redis: subscriptions were lost; they are made again", "error", err)
		}
		if time.Since(began) > maxReconnect {
			tries = 0
		}
		wait := min(50*time.Millisecond<<min(tries, 10), maxReconnect)
		select {
		case <-time.After(wait/2 + rand.N(wait/2)):
		case <-f.engine.ctx.Done():
			return
		}
	}
}

// connect returns when the connection has broken.
func (f *feed) connect() error {
	c, release := f.engine.client.Dedicate()
	defer release()
	defer c.Close()
	f.mu.Lock()
	f.link++
	link := f.link
	f.beats = time.Now()
	clear(f.todo)
	for name := range f.channels {
		f.todo[name] = true
	}
	f.mu.Unlock()
	broken := c.SetPubSubHooks(rueidis.PubSubHooks{
		OnMessage:      func(m rueidis.PubSubMessage) { f.message(link, m) },
		OnSubscription: func(s rueidis.PubSubSubscription) { f.subscription(link, s) },
	})
	ticker := time.NewTicker(f.engine.pace)
	defer ticker.Stop()
	for {
		if err := f.settle(c, broken, ticker.C); err != nil {
			return err
		}
		f.mu.Lock()
		again, deaf := f.down, f.deaf
		f.down, f.deaf = nil, false
		f.mu.Unlock()
		if deaf && f.engine.deaf.Add(-1) == 0 {
			f.engine.log.Info("broker/redis: subscribed again", "after", again)
		}
		if again != nil && !errors.Is(again, errNotYet) {
			f.again() // it may be an engine that has lost something
		}
		select {
		case <-f.wake:
		case err := <-broken:
			return orBroken(err)
		case <-ticker.C:
			if err := f.alive(); err != nil {
				return err
			}
		case <-f.engine.ctx.Done():
			return f.engine.ctx.Err()
		}
	}
}

func orBroken(err error) error {
	if err == nil {
		err = errors.New("the connection was closed")
	}
	return err
}

// alive returns an error if nothing was heard for too long.
func (f *feed) alive() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if quiet := time.Since(f.beats); quiet > silentBeats*f.engine.pace {
		return fmt.Errorf("nothing was heard for %v", quiet.Round(time.Millisecond))
	}
	return nil
}

// settle tells the engine what is to be heard and what not, until it has confirmed all.
// Nothing else is told meanwhile: a confirmation names a channel, and not of which of two
// commands it is.
func (f *feed) settle(c rueidis.DedicatedClient, broken <-chan error, ticks <-chan time.Time) error {
	for {
		join, leave, settled := f.next()
		if settled == nil {
			return nil
		}
		for part := range slices.Chunk(leave, channelsAtOnce) {
			if err := c.Do(f.engine.ctx, c.B().Unsubscribe().Channel(part...).Build()).Error(); err != nil {
				return err
			}
		}
		for part := range slices.Chunk(join, channelsAtOnce) {
			if err := c.Do(f.engine.ctx, c.B().Subscribe().Channel(part...).Build()).Error(); err != nil {
				return err
			}
		}
		for waiting := true; waiting; {
			select {
			case <-settled:
				waiting = false
			case err := <-broken:
				return orBroken(err)
			case <-ticks:
				if err := f.alive(); err != nil {
					return err
				}
			case <-f.engine.ctx.Done():
				return f.engine.ctx.Err()
			}
		}
	}
}

// next returns what is to be told; settled is nil if nothing is, and closed when all of it
// is confirmed.
func (f *feed) next() (join, leave []string, settled chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.todo) == 0 {
		return nil, nil, nil
	}
	for name := range f.todo {
		if f.channels[name] != nil {
			join = append(join, name)
		} else {
			leave = append(leave, name)
		}
	}
	clear(f.todo)
	f.left, f.settled = len(join)+len(leave), make(chan struct{})
	return join, leave, f.settled
}

// subscription is called by the connection when the engine has confirmed something, before
// anything that it announces after that.
func (f *feed) subscription(link int, s rueidis.PubSubSubscription) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if link != f.link {
		return
	}
	if f.left--; f.left == 0 {
		close(f.settled)
	}
	c := f.channels[s.Channel]
	if s.Kind != "subscribe" || c == nil || c.live {
		return
	}
	c.live = true
	if c.ever {
		c.hears.lose()
		return
	}
	c.ever = true
	close(c.confirmed)
}

// message is called by the connection with all that comes. It does not block.
func (f *feed) message(link int, m rueidis.PubSubMessage) {
	f.mu.Lock()
	c := f.channels[m.Channel]
	live := c != nil && c.live && link == f.link
	f.mu.Unlock()
	if live {
		c.hears.add(m.Message)
	}
}

// beats hears those of this node.
type beats struct{ feed *feed }

func (b beats) add(string) {
	b.feed.mu.Lock()
	defer b.feed.mu.Unlock()
	b.feed.beats = time.Now()
}

func (beats) lose() {}
