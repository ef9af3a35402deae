package chaos

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/transport"
)

// settle mends the network, has those go that never read, and waits until each other
// client has all that it waits for.
func (s *stage) settle() {
	s.net.mend()
	for _, c := range s.clients {
		if isMute(c.common().name) {
			c.leave()
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	// A join that the server has not taken leave of may have pushes to handle.
	s.await(ctx, func() error {
		if want, got := s.joined(), s.world.room.present(); want != got {
			return fmt.Errorf("the server has %d joins, and the clients have %d", got, want)
		}
		return s.missing()
	})
	for _, topic := range s.topics {
		if messages, whats := s.history(topic); len(messages) > 0 {
			all := map[said]bool{}
			for _, what := range whats {
				all[what] = true
			}
			s.mu.Lock()
			s.tops[topic] = top{messages[len(messages)-1].Offset, whats[len(whats)-1], all}
			s.mu.Unlock()
		}
	}
	s.await(ctx, s.missing)
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

// present counts the joins that were not left.
func (r *room) present() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, v := range r.joins {
		if v.left == 0 {
			n++
		}
	}
	return n
}

// history is all that was retained of a topic.
func (s *stage) history(topic string) ([]store.Message, []said) {
	s.Helper()
	messages, err := s.world.history(topic)
	if err != nil {
		s.Fatal(err)
	}
	whats := make([]said, len(messages))
	for i, m := range messages {
		if whats[i], err = parseSaid(m.Payload); err != nil {
			s.Errorf("%s at %d: %v", topic, m.Offset, err)
		}
	}
	return messages, whats
}

// wantAll compares what each client has seen with what was said.
func (s *stage) wantAll() {
	s.Helper()
	times := map[said]int{}
	var sum sums
	for _, topic := range s.topics {
		messages, whats := s.history(topic)
		for _, what := range whats {
			times[what]++
		}
		for _, c := range s.clients {
			if l := c.common().ledgers[topic]; l != nil && l.retained() && !isMute(c.common().name) {
				l.wantAll(messages, whats, &sum)
			}
		}
	}
	for what, n := range times {
		if n != 1 {
			s.Errorf("%v is in the history %d times, want 1", what, n)
		}
	}
	for _, p := range s.crowd {
		for _, what := range p.retained {
			if times[what] != 1 {
				s.Errorf("%v is in the history %d times, want 1", what, times[what])
			}
		}
	}
	acked, resumes, moves := s.wantApplied()
	hellos := s.hellos()
	s.mu.Lock() // connections still end
	ends, slow := maps.Clone(s.ends), s.slow
	s.mu.Unlock()
	s.Logf("%d messages in %d topics, seen %d times; %d joins, of which %d were recovered and %d were told of a gap; %d pushes were answered; %d resumes, of which %d moves; hellos: %v; ends: %v; %d joins of the %d clients that never read were ended as slow",
		len(times), len(s.topics), sum.seen, sum.joins, sum.recovered, sum.gaps, acked, resumes, moves, hellos, ends, slow, s.mutes)
	// How much happens in some seconds depends on the machine.
	if sum.seen == 0 || hellos[transport.LongPoll] == 0 || !s.isShort() && (sum.recovered == 0 || resumes == 0 || moves == 0 || acked == 0 || slow == 0) {
		s.Error("nothing of some kind has happened")
	}
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
	s.world.room.mu.Lock()
	defer s.world.room.mu.Unlock()
	applied := s.world.room.applied
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
	s.net.wait()
}
