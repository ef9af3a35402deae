package chaos

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/go-chime/chime/transport"
)

// settle mends the network, has those go that never read, and waits until each other
// client has all that it waits for.
func (s *stage) settle() {
	s.world.heal()
	s.net.mend()
	for _, c := range s.clients {
		if isMute(c.common().name) {
			c.leave()
		}
		if r, ok := c.(*resumer); ok && s.isShort() {
			r.sayBye()
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	// A join that the server has not taken leave of may have pushes to handle.
	s.await(ctx, func() error {
		if want, got := s.joined(), len(s.books.open()); want != got {
			return fmt.Errorf("the server has %d joins, and the clients have %d: %q", got, want, s.strays())
		}
		return s.missing()
	})
	s.await(ctx, s.isPresent)
	for _, topic := range s.topics {
		if messages := s.history(topic); len(messages) > 0 {
			all := map[said]bool{}
			for _, m := range messages {
				all[m.What] = true
			}
			last := messages[len(messages)-1]
			s.mu.Lock()
			s.tops[topic] = top{last.Offset, last.What, all}
			s.mu.Unlock()
		}
	}
	s.await(ctx, s.missing)
}

// isPresent returns nil if all nodes say that who is in a topic is there, and nobody else.
func (s *stage) isPresent() error {
	for _, topic := range s.topics {
		var want []string
		for _, c := range s.clients {
			p := c.common()
			p.mu.Lock()
			if j := p.joins[topic]; j != nil && j.in {
				want = append(want, p.name)
			}
			p.mu.Unlock()
		}
		slices.Sort(want)
		lists, err := s.world.present(topic)
		if err != nil {
			return err
		}
		for _, got := range lists {
			if !slices.Equal(got, want) {
				return fmt.Errorf("in %s are %q, want %q", topic, got, want)
			}
		}
	}
	return nil
}

// missing says what a client still waits for.
func (s *stage) missing() error {
	for _, c := range s.clients {
		if err := c.isDone(); err != nil {
			return fmt.Errorf("%s %w", c.common().name, err)
		}
	}
	return nil
}

func (s *stage) await(ctx context.Context, missing func() error) {
	s.Helper()
	for err := missing(); err != nil; err = missing() {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			s.Fatal(err)
		}
	}
}

// connected counts the clients that have a connection.
func (s *stage) connected() int {
	n := 0
	for _, c := range s.clients {
		p := c.common()
		p.mu.Lock()
		if r, ok := c.(*resumer); p.conn != nil || ok && r.line != nil {
			n++
		}
		p.mu.Unlock()
	}
	return n
}

// strays are the joins of the books that no client has.
func (s *stage) strays() (list []string) {
	has := map[string]bool{}
	for _, c := range s.clients {
		p := c.common()
		p.mu.Lock()
		for topic, j := range p.joins {
			has[p.name+" in "+topic] = j.in
		}
		p.mu.Unlock()
	}
	for _, one := range s.books.open() {
		if !has[one.who+" in "+one.topic] {
			list = append(list, fmt.Sprint(one.name, " of ", one.who, " in ", one.topic))
		}
		has[one.who+" in "+one.topic] = false
	}
	return list
}

// joined counts the joins that the clients have.
func (s *stage) joined() int {
	n := 0
	for _, c := range s.clients {
		p := c.common()
		p.mu.Lock()
		for _, j := range p.joins {
			if j.in {
				n++
			}
		}
		p.mu.Unlock()
	}
	return n
}

// history is all that was retained of a topic.
func (s *stage) history(topic string) []retained {
	s.Helper()
	list, err := s.world.history(topic)
	if err != nil {
		s.Fatalf("%s: %v", topic, err)
	}
	return list
}

// wantAll compares what each client has seen with what was said.
func (s *stage) wantAll() {
	s.Helper()
	times, places := map[said]int{}, map[said]published{}
	var sum sums
	for _, topic := range s.topics {
		messages := s.history(topic)
		for _, m := range messages {
			times[m.What]++
			places[m.What] = published{topic, m.What, done, m.Offset}
		}
		for _, c := range s.clients {
			if l := c.common().ledgers[topic]; l != nil && l.retained() && !isMute(c.common().name) {
				l.wantAll(messages, &sum)
			}
		}
	}
	for what, n := range times {
		if n != 1 {
			s.Errorf("%v is in the history %d times, want 1", what, n)
		}
	}
	results := s.wantPublished(places)
	acked, resumes, moves := s.wantApplied()
	hellos := s.hellos()
	s.mu.Lock() // connections still end
	ends, slow := maps.Clone(s.ends), s.slow
	s.mu.Unlock()
	s.Logf("%d messages in %d topics, seen %d times; published: %v; %d joins, of which %d were recovered and %d were told of a gap, %d of them after a failure; %d were seen and lost; %d pushes were answered; %d resumes, of which %d moves; hellos: %v; ends: %v; %d joins of the %d clients that never read were ended as slow",
		len(times), len(s.topics), sum.seen, results, sum.joins, sum.recovered, sum.gaps, sum.unread, sum.beyond, acked, resumes, moves, hellos, ends, slow, s.mutes)
	// How much happens in some seconds depends on the machine.
	if sum.seen == 0 || hellos[transport.LongPoll] == 0 || !s.isShort() && (sum.recovered == 0 || resumes == 0 || moves == 0 || acked == 0 || slow == 0) {
		s.Error("nothing of some kind has happened")
	}
}

// wantPublished wants that the history has what was acknowledged where that said, and nothing
// of which it was said that it is not there. It counts what publishers and clients were told.
func (s *stage) wantPublished(places map[said]published) map[outcome]int {
	s.Helper()
	results := map[outcome]int{}
	want := func(p published) {
		results[p.result]++
		switch got, there := places[p.what]; {
		case p.result == done && !there && s.world.loses():
			results["lost"]++
		case p.result == done && got != p:
			s.Errorf("%v was acknowledged in %s at %d, and is there: %t, in %s at %d", p.what, p.topic, p.at, there, got.topic, got.at)
		case p.result == refused && there:
			s.Errorf("%v was refused in %s, and is there at %d", p.what, p.topic, got.at)
		}
	}
	for _, p := range s.crowd {
		for _, one := range p.retained {
			want(one)
		}
	}
	for _, c := range s.clients {
		p := c.common()
		p.mu.Lock() // it may still come back
		for _, one := range p.retained {
			want(one)
		}
		p.mu.Unlock()
	}
	return results
}

// hellos counts those that clients that resume had, by transport.
func (s *stage) hellos() map[string]int {
	sum := map[string]int{}
	for _, c := range s.clients {
		if r, ok := c.(*resumer); ok {
			r.mu.Lock() // it may still come back
			for kind, n := range r.hellos {
				sum[kind] += n
			}
			r.mu.Unlock()
		}
	}
	return sum
}

// wantApplied wants that each push was handled once if it was answered, and else at
// most once.
func (s *stage) wantApplied() (answered, resumes, moves int) {
	s.books.mu.Lock()
	defer s.books.mu.Unlock()
	applied := s.books.applied
	total := 0
	for _, c := range s.clients {
		p := c.common()
		p.mu.Lock() // it may still come back
		for _, what := range p.acked {
			if applied[what] != 1 {
				s.Errorf("%v was answered and handled %d times, want 1", what, applied[what])
			}
		}
		for _, what := range p.sent {
			total++
			if applied[what] > 1 {
				s.Errorf("%v was handled %d times, want at most 1", what, applied[what])
			} else if applied[what] == 0 {
				total--
			}
		}
		answered += len(p.acked)
		if r, ok := c.(*resumer); ok {
			resumes += r.resumes
			moves += r.moves
		}
		p.mu.Unlock()
	}
	if len(applied) != total {
		s.Errorf("%d pushes were handled that nobody sent", len(applied)-total)
	}
	return answered, resumes, moves
}

// close has all clients go, and then the server, of which nothing may be left.
func (s *stage) close() {
	for _, c := range s.clients {
		if !isMute(c.common().name) {
			c.leave()
		}
	}
	s.world.close()
	s.books.wantLeft()
	s.net.wait()
}
