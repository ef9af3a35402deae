package model

import "fmt"

// action is one step that a side, or the network, may take.
type action struct {
	verb verb
	at   uint8 // which connection or copy
	last uint8 // of a new POST
}

type verb uint8

const (
	asksWebSocket verb = iota
	asksStream
	clientPromotes
	pushes
	acks
	posts
	retries
	hears
	readsAnswer
	clientNotices

	reads
	readsPost
	writes
	beats
	serverNotices
	readsBye

	// What follows is trouble, or a choice that nobody has to make: with none of it
	// from now on, everything has to come to a good end.
	alsoAsksWebSocket // besides a connection, or an attempt
	alsoAsksStream
	saysBye
	cuts
	repeatsRequest
	repeatsPost
	losesPost
	losesAnswer
	losesBye
	timesOut
	runsOut

	verbs
)

// trouble says whether an action need not happen.
func (a action) trouble() bool { return a.verb >= alsoAsksWebSocket }

// actions appends to list what may happen in s.
func (m *machine) actions(s *state, list []action) []action {
	v, k := &s.server, &s.client
	if k.phase == informed {
		return list
	}
	add := func(what verb, at int) { list = append(list, action{verb: what, at: uint8(at)}) }

	open := s.count(func(c *conn) bool { return *c != conn{} }) < m.bounds.conns
	if k.phase == alive && open {
		trying := s.count(func(c *conn) bool { return c.client == opening || c.client == ready })
		webSocket, stream := asksWebSocket, asksStream
		if trying > 0 || s.link() >= 0 {
			webSocket, stream = alsoAsksWebSocket, alsoAsksStream
		}
		if m.bounds.webSocket && trying < m.bounds.attempts {
			add(webSocket, s.free())
		}
		if m.bounds.stream && trying < m.bounds.attempts {
			add(stream, s.free())
		}
	}
	for i := range s.conns {
		c := &s.conns[i]
		if *c == (conn{}) {
			continue
		}
		if c.client == ready {
			add(clientPromotes, i)
		}
		if c.client == link && !c.stream && !c.up.full() {
			if k.pushed < m.bounds.up {
				add(pushes, i)
			}
			if k.said < k.received {
				add(acks, i)
			}
		}
		if c.down != 0 {
			add(hears, i)
		}
		if c.up != 0 {
			add(reads, i)
		}
		if c.server == current && !c.down.full() {
			if v.cursor < m.bounds.down && k.phase != bye {
				add(writes, i)
			}
			if m.bounds.beats && !c.cut && v.received > k.known && !c.down.has(beat) {
				add(beats, i)
			}
		}
		if c.server == candidate && !c.cut {
			add(timesOut, i)
		}
		if c.stream && c.server == coming && c.client != unused && open {
			add(repeatsRequest, i)
		}
		if !c.cut {
			add(cuts, i)
			continue
		}
		if c.client != unused {
			add(clientNotices, i)
		}
		if c.server != ended {
			add(serverNotices, i)
		}
	}
	list = m.postActions(s, list)
	if v.timer && s.find(func(c *conn) bool { return c.server == candidate }) < 0 {
		add(runsOut, 0)
	}
	if m.bounds.leaves && k.phase == alive {
		add(saysBye, 0)
	}
	if k.bye {
		add(readsBye, 0)
		add(losesBye, 0)
	}
	return list
}

func (m *machine) postActions(s *state, list []action) []action {
	k := &s.client
	add := func(what verb, at int) { list = append(list, action{verb: what, at: uint8(at)}) }

	room, underWay := false, false
	for i, p := range s.copies {
		if p.secret == 0 {
			room = room || i < m.bounds.copies
			continue
		}
		underWay = underWay || p == k.post
		add(readsPost, i)
		add(losesPost, i)
	}
	for i, p := range s.copies {
		if p.secret != 0 && room {
			add(repeatsPost, i)
		}
	}
	switch {
	case k.phase != alive || !k.stream:
	case k.post.secret == 0:
		for last := k.pushed; last <= m.bounds.up; last++ {
			if last > k.known || k.said < k.received {
				list = append(list, action{verb: posts, last: last})
			}
		}
	case k.post.answer != none:
		add(readsAnswer, 0)
		add(losesAnswer, 0)
	case room && !underWay && !m.rules.neverRetries:
		add(retries, 0)
	}
	return list
}

// do takes a step. What it breaks is in s.wrong afterwards.
func (m *machine) do(s *state, a action) {
	i, c, k := int(a.at), &s.conns[a.at], &s.client
	switch a.verb {
	case asksWebSocket, alsoAsksWebSocket:
		m.attach(s, i, false)
	case asksStream, alsoAsksStream:
		m.attach(s, i, true)
	case clientPromotes:
		m.clientPromotes(s, i)
	case pushes:
		m.push(s, i)
	case acks:
		m.ack(s, i)
	case posts:
		m.post(s, a.last)
	case retries:
		m.repeat(s, k.post)
	case hears:
		m.hear(s, i)
	case readsAnswer:
		m.readAnswer(s)
	case clientNotices:
		m.clientNotices(s, i)
	case saysBye:
		m.sayBye(s)

	case reads:
		m.read(s, i)
	case readsPost:
		p := s.copies[i]
		s.copies[i] = post{}
		got := m.receivePost(s, p)
		if p == k.post { // the client still waits for this very one
			k.post.answer = got
			if got == refused && s.server.over == going {
				s.fail("a client that kept the rules has a POST refused")
			}
		}
	case writes:
		m.write(s, i)
	case beats:
		c.send(beat, s.server.received)
	case serverNotices:
		m.serverNotices(s, i)
	case readsBye:
		k.bye = false
		if s.good(k.secret) {
			m.over(s, left)
		} else if s.server.over == going {
			s.fail("a client that kept the rules has its goodbye refused")
		}
	case timesOut:
		m.close(s, i)
	case runsOut:
		m.over(s, vanished)

	case cuts:
		c.cut = true
	case repeatsRequest:
		s.named++
		s.conns[s.free()] = conn{name: s.named, stream: true, cut: true, server: coming, shown: c.shown, up: c.up}
	case repeatsPost:
		m.repeat(s, s.copies[i])
	case losesPost:
		s.copies[i] = post{}
	case losesAnswer:
		k.post.answer = none
	case losesBye:
		k.bye = false
	}
	m.tidy(s)
	m.check(s)
}

// check looks at what must hold in every state.
func (m *machine) check(s *state) {
	if s.client.phase == alive && s.server.over == going && (!s.good(s.client.secret) || !s.good(s.client.shows)) {
		s.fail("a client that kept the rules is locked out: its secret is dead, and the client socket lives")
	}
	if s.count(func(c *conn) bool { return c.server == current }) > 1 {
		s.fail("two connections carry counted frames")
	}
}

// tell says in words what an action does to s.
func (s *state) tell(a action) string {
	c := s.conns[a.at]
	name, kind := fmt.Sprintf("connection %d", c.name), "WebSocket"
	if c.stream {
		kind = "stream"
	}
	p := s.copies[a.at%maxCopies]
	batch := fmt.Sprintf("the POST of secret %d with frames %d to %d, received %d", p.secret, p.first, p.last, p.received)
	if p.first > p.last {
		batch = fmt.Sprintf("the POST of secret %d without frames, received %d", p.secret, p.received)
	}
	switch a.verb {
	case asksWebSocket, alsoAsksWebSocket:
		return fmt.Sprintf("client: asks for connection %d, a WebSocket, with secret %d", s.named+1, s.client.shows)
	case asksStream, alsoAsksStream:
		return fmt.Sprintf("client: asks for connection %d, a stream, with secret %d, received %d", s.named+1, s.client.shows, s.client.received)
	case clientPromotes:
		return fmt.Sprintf("client: promotes %s, a %s, received %d", name, kind, s.client.received)
	case pushes:
		return fmt.Sprintf("client: sends frame %d on %s", s.client.pushed+1, name)
	case acks:
		return fmt.Sprintf("client: acknowledges %d on %s", s.client.received, name)
	case posts:
		return fmt.Sprintf("client: POSTs up to frame %d with secret %d, received %d", a.last, s.client.secret, s.client.received)
	case retries:
		return "client: sends its POST again"
	case hears:
		return fmt.Sprintf("client: reads %s on %s", message(c.down), name)
	case readsAnswer:
		return fmt.Sprintf("client: reads the answer to its POST: %s", s.client.post.answer)
	case clientNotices:
		return fmt.Sprintf("client: notices that %s is cut", name)
	case saysBye:
		return "client: says goodbye"
	case reads:
		return fmt.Sprintf("server: reads %s on %s", message(c.up), name)
	case readsPost:
		return "server: reads " + batch
	case writes:
		return fmt.Sprintf("server: writes frame %d on %s", s.server.cursor+1, name)
	case beats:
		return fmt.Sprintf("server: writes a heartbeat on %s, received %d", name, s.server.received)
	case serverNotices:
		return fmt.Sprintf("server: notices that %s is cut", name)
	case readsBye:
		return "server: reads the goodbye"
	case timesOut:
		return fmt.Sprintf("server: ends %s, which was not used in time", name)
	case runsOut:
		return "server: the grace period is over"
	case cuts:
		return fmt.Sprintf("network: cuts %s", name)
	case repeatsRequest:
		return fmt.Sprintf("network: repeats the request of %s, as connection %d", name, s.named+1)
	case repeatsPost:
		return "network: repeats " + batch
	case losesPost:
		return "network: loses " + batch
	case losesAnswer:
		return "network: loses the answer to the POST"
	case losesBye:
		return "network: loses the goodbye"
	}
	return ""
}

func (m message) String() string {
	n := m.number()
	switch m.kind() {
	case attach:
		return fmt.Sprintf("the request, received %d", n)
	case acknowledgement:
		return fmt.Sprintf("ack, received %d", n)
	case frame:
		return fmt.Sprintf("frame %d", n)
	case hello:
		return fmt.Sprintf("hello, received %d", n)
	case anew:
		return "hello, resumed false"
	case beat:
		return fmt.Sprintf("heartbeat, received %d", n)
	}
	return "the end"
}

func (a answer) String() string {
	if a == refused {
		return "refused"
	}
	return fmt.Sprintf("%d applied", a-answered)
}
