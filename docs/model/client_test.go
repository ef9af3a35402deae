package model

// What the client does. A field of rules that is set breaks the protocol on
// purpose; see mutants.

// attach asks for a connection, at i.
func (m *machine) attach(s *state, i int, stream bool) {
	s.named++
	c := &s.conns[i]
	*c = conn{name: s.named, stream: stream, client: opening, server: coming, shown: s.client.shows}
	c.up.push(attach, s.client.received)
}

// hear takes the next message that the server wrote to connection i.
func (m *machine) hear(s *state, i int) {
	c, k := &s.conns[i], &s.client
	got := c.down.pop()
	n := got.number()
	switch got.kind() {
	case hello:
		c.client = ready
		if m.bounds.showsUnpromoted {
			k.shows = c.secret
		}
		k.known = max(k.known, n)
		if k.phase == fresh { // it needs no promotion
			k.phase, k.secret, k.shows, k.stream = alive, c.secret, c.secret, c.stream
			c.client = link
		}
	case anew:
		if s.server.over == going {
			s.fail("a client that kept the rules is told that its client socket is no more, and it lives")
		}
		k.phase = informed
	case beat:
		k.known = max(k.known, n)
	case end:
		m.drop(s, i)
	case frame:
		switch {
		case c.client == ready:
			s.fail("a connection that is not promoted carries counted frames")
		case n > k.received+1:
			s.fail("the client has frame %d after %d", n, k.received)
		case n <= k.received:
			s.fail("the client has frame %d a second time", n)
		}
		k.received++
	}
}

// clientPromotes makes connection i the one that the client uses, and says so on it.
// With that it ends all its others.
func (m *machine) clientPromotes(s *state, i int) {
	c, k := &s.conns[i], &s.client
	for j := range s.conns {
		if j == i {
			continue
		}
		switch other := &s.conns[j]; {
		case other.client == unused:
		case other.client == link && m.rules.hearsFormer:
			other.client = former
		case other.client == ready && m.rules.keepsOthers:
		default:
			m.drop(s, j)
		}
	}
	c.client = link
	k.secret, k.shows, k.stream, k.said = c.secret, c.secret, c.stream, k.received
	k.post = post{}
	if c.stream {
		m.post(s, k.pushed)
		return
	}
	if !c.cut {
		c.up.push(acknowledgement, k.received)
	}
	// What the server did not have when it said hello follows at once: the first is
	// number base+1, whatever the client was told on other connections since.
	first := c.base + 1
	if m.rules.forgetsDuringAttach {
		first = k.known + 1
	}
	if m.rules.ignoresBase {
		first = 1
	}
	for n := first; n <= k.pushed; n++ {
		if !c.cut {
			c.up.push(frame, n)
		}
	}
}

// push sends the next frame on a WebSocket, at i.
func (m *machine) push(s *state, i int) {
	s.client.pushed++
	if c := &s.conns[i]; !c.cut {
		c.up.push(frame, s.client.pushed)
	}
}

// ack says on a WebSocket, at i, what the client received.
func (m *machine) ack(s *state, i int) {
	s.client.said = s.client.received
	if c := &s.conns[i]; !c.cut {
		c.up.push(acknowledgement, s.client.received)
	}
}

// post sends what the server is not known to have, up to last.
func (m *machine) post(s *state, last uint8) {
	k := &s.client
	k.pushed, k.said = last, k.received
	k.post = post{secret: k.secret, first: k.known + 1, last: last, received: k.received}
	m.repeat(s, k.post)
}

// repeat puts one more copy of a POST under way, if there is room for it.
func (m *machine) repeat(s *state, p post) {
	p.answer = none
	for i := range s.copies {
		if i < m.bounds.copies && s.copies[i].secret == 0 {
			s.copies[i] = p
			return
		}
	}
}

// readAnswer takes the answer to the POST that the client waits for.
func (m *machine) readAnswer(s *state) {
	k := &s.client
	got := k.post.answer
	k.post = post{}
	if got == refused {
		if i := s.link(); i >= 0 {
			m.drop(s, i)
		}
		return
	}
	k.known = max(k.known, uint8(got-answered))
}

// clientNotices is the client finding that connection i is cut.
func (m *machine) clientNotices(s *state, i int) {
	m.drop(s, i)
	if s.client.phase == fresh {
		s.client.phase = informed // it never saw a hello, and opens anew
	}
}

// drop ends connection i, as far as the client is concerned.
func (m *machine) drop(s *state, i int) {
	c := &s.conns[i]
	c.client, c.cut, c.down = unused, true, 0
}

// sayBye ends the client socket for the client.
func (m *machine) sayBye(s *state) {
	for i, c := range s.conns {
		if c.client != unused {
			m.drop(s, i)
		}
	}
	s.client = client{phase: bye, secret: s.client.secret, shows: s.client.secret, bye: true}
}
