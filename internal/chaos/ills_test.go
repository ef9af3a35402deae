package chaos

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// befall has something befall the world, and says what.
func (w *processes) befall(what string, do func()) {
	from := time.Now()
	w.mu.Lock()
	i := len(w.ails)
	w.ails = append(w.ails, ailment{from: from})
	w.counts[kindOf(what)]++
	w.mu.Unlock()
	do()
	w.Logf("%.1f s: %s: over after %.1f s", from.Sub(w.began).Seconds(), what, time.Since(from).Seconds())
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ails[i].to = time.Now()
}

// kindOf leaves out of what befell when and whom.
func kindOf(what string) string {
	what, _, _ = strings.Cut(what, " for ")
	return strings.Trim(strings.Map(func(r rune) rune {
		if '0' <= r && r <= '9' {
			return -1
		}
		return r
	}, what), " ")
}

func (w *processes) ailed(at time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.ails, func(a ailment) bool {
		return !at.Before(a.from) && (a.to.IsZero() || at.Before(a.to.Add(aftermath)))
	})
}

func (w *processes) ills() []func(*dice) {
	return []func(*dice){
		func(d *dice) { w.engine.hurt(w, d) },
		w.hurtNode,
		w.hurtWay,
	}
}

// hurtNode has a node be killed, stop, or shut down.
func (w *processes) hurtNode(d *dice) {
	i := d.n(len(w.nodes))
	n, pause := w.nodes[i], d.between(0, 2*time.Second)
	again := func() {
		time.Sleep(pause)
		n.start()
		n.opened()
	}
	switch d.n(4) {
	case 0, 1:
		w.befall(fmt.Sprintf("node %d is killed for %v", i, pause), func() {
			n.kill()
			again()
		})
	case 2:
		pause := d.between(200*time.Millisecond, w.stops)
		w.befall(fmt.Sprintf("node %d stops for %v", i, pause), func() {
			n.now().stop()
			time.Sleep(pause)
			n.now().goOn()
		})
	case 3:
		w.befall(fmt.Sprintf("node %d shuts down for %v", i, pause), func() {
			n.now().end()
			again()
		})
	}
}

// hurtWay cuts what is between a node and the engine, or another node.
func (w *processes) hurtWay(d *dice) {
	i, pause := d.n(len(w.nodes)), d.between(100*time.Millisecond, w.cuts)
	how := []state{hole, severed}[d.n(2)]
	n := w.nodes[i]
	ways, to := n.toEngine, "the engine"
	if d.one(2) {
		k := (i + 1 + d.n(2)) % len(w.nodes)
		ways, to = []*way{n.toNodes[w.nodes[k].address]}, fmt.Sprint("node ", k)
	}
	w.befall(fmt.Sprintf("from node %d to %s is %v for %v", i, to, how, pause), func() {
		be(ways, how)
		time.Sleep(pause)
		be(ways, passing)
	})
}

func be(ways []*way, s state) {
	for _, one := range ways {
		one.be(s)
	}
}

// away has the engine be away until all nodes that work have said so. Their clients keep their
// connections meanwhile, as far as the network lets them.
func (w *processes) away() {
	w.befall("the engine is away until all nodes say so", func() {
		before := w.stage.connected()
		w.engine.stop()
		defer w.engine.goOn()
		var looking sync.WaitGroup
		for _, n := range w.nodes {
			looking.Go(n.wantUnwell)
		}
		looking.Wait()
		w.Logf("%d clients are connected while the engine is away, with %d before", w.stage.connected(), before)
	})
}

// wantUnwell waits until the node says that it is not well. If it stops, or ends, it need not.
func (n *nodeProcess) wantUnwell() {
	p := n.now()
	stops := p.stopped()
	for end := time.Now().Add(n.world.giveUp + aftermath); n.isWell() == nil; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) && n.now() == p && p.stopped() == stops {
			n.world.Errorf("%s says that it is well, and its engine was away for %v", p.name, n.world.giveUp+aftermath)
			return
		}
	}
}

// isWell returns nil if the node says that it is.
func (n *nodeProcess) isWell() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return n.call(ctx, "health", nil, nil, new(any))
}

// heal waits until the engine is whole, and each node is well and knows all others.
func (w *processes) heal() {
	w.within("the engine is whole", w.engine.isWhole)
	for _, n := range w.nodes {
		w.within(n.now().name+" is well", n.isWell)
	}
	w.within("the nodes know each other", w.areKnown)
}

// within waits until something is so.
func (w *processes) within(what string, is func() error) {
	err := is()
	for end := time.Now().Add(patience); err != nil; err = is() {
		if time.Now().After(end) {
			w.Errorf("%s: not after %v: %v", what, patience, err)
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// areKnown returns nil if each node knows all those that are there, and no more.
func (w *processes) areKnown() error {
	var first []string
	for i, n := range w.nodes {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		var ids []string
		err := n.call(ctx, "nodes", nil, nil, &ids)
		cancel()
		if i == 0 {
			first = ids
		}
		if err != nil || len(ids) != len(w.nodes) || !slices.Equal(ids, first) {
			return fmt.Errorf("node 0 knows %v, node %d %v: %w", first, i, ids, err)
		}
	}
	return nil
}
