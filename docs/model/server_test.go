package model

// What the server does. A field of rules that is set breaks the protocol on
// purpose; see mutants.

// arrive takes the request of connection i.
func (m *machine) arrive(s *state, i int, received uint8) {
	c, v := &s.conns[i], &s.server
	if !s.good(c.shown) || m.rules.judgesRequest && c.stream && received < max(v.acked, v.evicted) {
		if v.over == going && c.client == opening {
			s.fail("a client that kept the rules is told that its client socket is no more, and it lives")
		}
		c.server = ended // another client socket, which is none of ours
		c.send(anew, 0)
		return
	}
	v.issued++
	c.secret = v.issued
	c.server, c.base, c.at = candidate, v.received, v.received
	c.send(hello, v.received)
	m.issue(s, c.shown, c.secret)

	oldest, candidates := -1, 0
	for j, other := range s.conns {
		if other.server == candidate {
			candidates++
			if oldest < 0 || other.secret < s.conns[oldest].secret {
				oldest = j
			}
		}
	}
	if candidates > m.bounds.candidates {
		m.close(s, oldest)
	}
}

// issue makes a secret good that answers another. When there are too many, the
// one whose last use is the longest ago is dropped, unless its connection is open.
func (m *machine) issue(s *state, shown, fresh uint16) {
	v := &s.server
	if m.rules.killsAtHello {
		v.current, v.secrets = fresh, secrets{}
		return
	}
	if m.bounds.secrets == 0 {
		v.secrets.add(fresh)
		return
	}
	if v.secrets.has(shown) && !m.rules.forgetsUse {
		v.secrets.drop(func(secret uint16) bool { return secret == shown })
		v.secrets.add(shown)
	}
	v.secrets.add(fresh)
	for _, secret := range v.secrets {
		if v.secrets[m.bounds.secrets] == 0 {
			break
		}
		if s.find(func(c *conn) bool { return c.server == candidate && c.secret == secret }) < 0 {
			v.secrets.drop(func(other uint16) bool { return other == secret })
			break
		}
	}
}

// promote makes the connection of a secret the one that carries counted frames.
// It may have broken; then nothing is attached. The client knows of no older
// hello any more. It may have promoted a younger one already, if this is late: that
// connection and its secret live on.
func (m *machine) promote(s *state, chosen uint16, received uint8) {
	v := &s.server
	if received > v.written {
		s.fail("the client acknowledges %d, and %d were sent", received, v.written)
	}
	if received < v.acked {
		s.fail("the client wants %d again, which it has acknowledged", v.acked)
	}
	older := func(secret uint16) bool { return secret < chosen || m.rules.killsYounger && secret != chosen }
	promoted := -1
	for i, c := range s.conns {
		switch {
		case c.server >= candidate && c.secret == chosen:
			promoted = i
		case c.server == current:
			if c.client == link {
				s.fail("the connection that the client uses is taken from it")
			}
			m.close(s, i)
		case c.server == candidate && older(c.secret):
			m.close(s, i)
		}
	}
	if m.rules.killsNothing {
		v.secrets.add(v.current)
	} else {
		v.secrets.drop(older)
	}
	v.secrets.drop(func(secret uint16) bool { return secret == chosen })
	v.current = chosen
	if received < v.evicted && !m.rules.skipsTheHole {
		if s.client.received+m.bounds.ring >= v.written {
			s.fail("the client socket ends for what the client missed, and it lacks no more than the ring should hold")
		}
		m.over(s, overrun)
		return
	}
	v.cursor = max(received, v.evicted)
	if m.rules.rewindsToAcked {
		v.cursor = max(v.acked, v.evicted)
	}
	v.acked = max(v.acked, received)
	v.timer = promoted < 0 || m.rules.timerRunsOn && v.timer
	if promoted >= 0 {
		c := &s.conns[promoted]
		c.server = current
		if m.rules.countsFromPromotion {
			c.at = v.received
		}
	}
}

// write puts the next frame on the connection that is attached.
func (m *machine) write(s *state, i int) {
	v := &s.server
	v.cursor++
	if v.cursor > v.written {
		v.written = v.cursor
		if m.rules.forgetsWritten {
			v.evicted = v.written
		}
		if v.written-max(v.acked, v.evicted) > m.bounds.ring {
			v.evicted = max(v.acked, v.evicted) + 1
		}
	}
	s.conns[i].send(frame, v.cursor)
	if m.rules.writesToCandidates {
		for j := range s.conns {
			if s.conns[j].server == candidate {
				s.conns[j].send(frame, v.cursor)
			}
		}
	}
}

// read takes the next message that the client wrote to connection i.
func (m *machine) read(s *state, i int) {
	c, v := &s.conns[i], &s.server
	got := c.up.pop()
	switch n := got.number(); {
	case c.server == coming && got.kind() == attach:
		m.arrive(s, i, n)
	case c.server == ended:
		if got.kind() == frame { // m.rules.readsFormer
			m.apply(s, v.received+1, n)
		}
	case c.server == candidate && got.kind() == acknowledgement:
		m.promote(s, c.secret, n)
	case c.server == candidate:
		s.fail("a counted frame on a connection that is not promoted")
	case got.kind() == acknowledgement:
		m.acknowledge(s, n)
	case got.kind() == frame:
		c.at++
		m.apply(s, c.at, n)
	}
}

func (m *machine) acknowledge(s *state, received uint8) {
	if received > s.server.written {
		s.fail("the client acknowledges %d, and %d were sent", received, s.server.written)
	}
	s.server.acked = max(s.server.acked, received)
}

// apply takes frame n of the application, which the server counts as number.
func (m *machine) apply(s *state, number, n uint8) {
	v := &s.server
	switch {
	case number <= v.received && n <= v.received: // it has it
	case number <= v.received:
		s.fail("the server skips frame %d as number %d, and it has not had it", n, number)
	case number > v.received+1 || n > v.received+1:
		s.fail("the server has frame %d after %d", n, v.received)
	case n <= v.received:
		s.fail("the server applies frame %d a second time", n)
	default:
		v.received++
	}
}

// receivePost takes a POST, and returns the answer.
func (m *machine) receivePost(s *state, p post) answer {
	v := &s.server
	if !s.good(p.secret) {
		return refused
	}
	if p.secret != v.current || m.rules.promotesAgain {
		m.promote(s, p.secret, p.received)
		if v.over != going {
			return refused
		}
	}
	m.acknowledge(s, p.received)
	if p.first > v.received+1 {
		s.fail("a POST begins with %d, and the server wants %d", p.first, v.received+1)
	}
	for n := p.first; n <= p.last; n++ {
		number := n
		if m.rules.takesOverlap {
			number = v.received + 1
		}
		m.apply(s, number, n)
	}
	return answered + answer(v.received)
}

// serverNotices is the server finding that connection i is cut.
func (m *machine) serverNotices(s *state, i int) {
	c, v := &s.conns[i], &s.server
	was := c.server
	m.close(s, i)
	if was != current {
		return
	}
	if v.received == 0 && v.written == 0 && v.secrets[0] == 0 {
		m.over(s, empty)
		return
	}
	v.timer = true
}

// over ends the client socket.
func (m *machine) over(s *state, why reason) {
	if s.server.over != going {
		s.fail("the client socket ends a second time")
	}
	if why == vanished && s.find(func(c *conn) bool { return c.server >= candidate }) >= 0 {
		s.fail("the client socket is gone, and a connection is attached")
	}
	s.server = server{over: why, issued: s.server.issued}
	for i, c := range s.conns {
		if c.server >= candidate {
			m.close(s, i)
		}
	}
}

// close ends connection i, as far as the server is concerned.
func (m *machine) close(s *state, i int) {
	c := &s.conns[i]
	c.server = ended
	c.send(end, 0)
}

// send writes to the client, unless that leads nowhere.
func (c *conn) send(kind message, n uint8) {
	if !c.cut {
		c.down.push(kind, n)
	}
}
