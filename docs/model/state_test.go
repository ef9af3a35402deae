// Package model is the protocol by which a client socket outlives its
// connections, written down once more as a machine of few states, and a checker
// that goes through all of them. README.md says what is left out and what is
// proved. It knows nothing of the code of chime.
package model

import (
	"fmt"
	"slices"
)

// state is one moment of one client socket: what its server knows, what its
// client knows, and what is under way between them. It is copied by assignment.
type state struct {
	server server
	client client
	conns  [maxConns]conn
	copies [maxCopies]post // POSTs that have left the client and may arrive yet

	named uint16 // how many connections there have been; names in traces only
	wrong string // the first property that does not hold, or ""
}

const (
	maxConns   = 5
	maxCopies  = 3
	maxSecrets = 3 + 2*maxConns + maxCopies
)

// server is what the server keeps of the client socket.
//
// A counted frame is its own number here: what the application sends as its
// third frame is 3. So a side that receives in order, without gaps, each once
// receives 1, 2, 3 …, and how many it has is all there is to know of its log.
type server struct {
	over     reason
	received uint8 // the application has 1 … received of the client
	written  uint8 // the highest that was ever written
	cursor   uint8 // the highest that was written on the current connection
	acked    uint8 // the client said it has these
	evicted  uint8 // the ring has forgotten these, acknowledged or not
	timer    bool  // the grace period is running

	current uint16  // the secret of the connection that was promoted last; it is good
	secrets secrets // others that are good
	issued  uint16  // the last that was issued; they are numbered
}

// secrets are in the order of their last use, then 0.
type secrets [maxSecrets]uint16

func (all *secrets) has(secret uint16) bool { return slices.Contains(all[:], secret) }

func (all *secrets) add(secret uint16) { all[slices.Index(all[:], 0)] = secret }

func (all *secrets) drop(which func(secret uint16) bool) {
	kept := all[:0]
	for _, secret := range all {
		if secret != 0 && !which(secret) {
			kept = append(kept, secret)
		}
	}
	clear(all[len(kept):])
}

// reason is why a client socket ended.
type reason uint8

const (
	going    reason = iota // it has not
	left                   // the client said goodbye
	vanished               // nothing was attached for the grace period
	empty                  // its connection broke, and nothing had been counted, nor asked
	overrun                // the ring had forgotten what the client lacks
	reasons
)

// client is what the client keeps of the client socket.
type client struct {
	phase    phase
	secret   uint16 // of the connection that it promoted last
	shows    uint16 // when it asks for another
	stream   bool   // that connection was a stream
	received uint8  // the application has 1 … received of the server
	pushed   uint8  // the highest that it ever sent
	known    uint8  // the server has these, as far as the client was told
	said     uint8  // the last it acknowledged on the promoted connection
	post     post   // the one POST that it waits for
	bye      bool   // its goodbye is under way
}

type phase uint8

const (
	fresh phase = iota // the first hello has not come
	alive
	informed // it knows that the client socket is no more
	bye      // it said goodbye
)

// post is a batch: frames first … last, after received frames of the server.
type post struct {
	secret                uint16 // 0 is no POST
	first, last, received uint8
	answer                answer // in client.post only
}

// answer is none, refused, or answered plus the server's count.
type answer uint8

const (
	none answer = iota
	refused
	answered
)

// conn is a connection. What a side has written to it arrives in order; once it
// is cut, no more is written, and each side takes what has come until it
// notices: so any suffix may be lost, on each way another.
type conn struct {
	name   uint16 // names in traces only
	stream bool
	cut    bool
	client clientEnd
	server serverEnd
	shown  uint16 // the secret that its request shows
	secret uint16 // the one of its hello
	base   uint8  // received, as its hello said
	at     uint8  // the number of the last counted frame that the server read on it
	up     pipe
	down   pipe
}

type clientEnd uint8

const (
	unused clientEnd = iota // and a connection unused at both ends is none
	opening
	ready  // its hello has come
	link   // promoted, as the client sees it
	former // another was promoted; only a mutant still reads it
)

type serverEnd uint8

const (
	ended serverEnd = iota
	coming
	candidate
	current
)

// pipe holds what is under way in one direction, the first in the lowest byte.
type pipe uint64

type message uint8

// The high half of a message is its kind, the low half its number.
const (
	attach          message = (iota + 1) << 4 // the client received n when it asked
	acknowledgement                           // which promotes, too: received n
	frame                                     // counted frame n
	hello                                     // received n
	anew                                      // hello of another client socket: resumed false
	beat                                      // heartbeat: received n
	end                                       // moved, or any other end
)

func (m message) kind() message { return m &^ 15 }
func (m message) number() uint8 { return uint8(m & 15) }

func (p *pipe) push(kind message, n uint8) {
	if p.full() {
		panic("a pipe holds eight messages")
	}
	at := 0
	for *p>>at != 0 {
		at += 8
	}
	*p |= pipe(kind|message(n)) << at
}

func (p *pipe) pop() message {
	m := message(*p)
	*p >>= 8
	return m
}

func (p *pipe) full() bool { return *p>>56 != 0 }

func (p *pipe) has(kind message) bool {
	for rest := *p; rest != 0; rest >>= 8 {
		if message(rest).kind() == kind {
			return true
		}
	}
	return false
}

func (s *state) fail(format string, a ...any) {
	if s.wrong == "" {
		s.wrong = fmt.Sprintf(format, a...)
	}
}

// find returns the connection at which match holds, or -1.
func (s *state) find(match func(c *conn) bool) int {
	for i := range s.conns {
		if match(&s.conns[i]) {
			return i
		}
	}
	return -1
}

func (s *state) attached() int { return s.find(func(c *conn) bool { return c.server == current }) }
func (s *state) link() int     { return s.find(func(c *conn) bool { return c.client == link }) }
func (s *state) free() int     { return s.find(func(c *conn) bool { return *c == conn{} }) }

func (s *state) count(match func(c *conn) bool) int {
	n := 0
	for i := range s.conns {
		if match(&s.conns[i]) {
			n++
		}
	}
	return n
}

// good says whether the server takes a secret, which it does from 1 on.
func (s *state) good(secret uint16) bool {
	return s.server.over == going && secret != 0 && (secret == s.server.current || s.server.secrets.has(secret))
}

// tidy forgets what no longer matters, so that states that behave alike are alike.
func (m *machine) tidy(s *state) {
	if s.client.phase == informed {
		*s = state{client: client{phase: informed}, named: s.named, wrong: s.wrong}
		return
	}
	for i := range s.conns {
		c := &s.conns[i]
		if c.client == unused {
			c.cut, c.down = true, 0
		}
		if c.server == ended && !m.rules.readsFormer {
			c.up = 0
		}
		if c.client == unused && c.server == ended && c.up == 0 {
			*c = conn{}
		}
		if c.server != coming {
			c.shown = 0
		}
		if c.stream || c.server == ended {
			c.at = 0
		}
		if c.stream || c.client != opening && c.client != ready {
			c.base = 0
		}
	}
	if s.attached() < 0 {
		s.server.cursor = 0
	}
	if s.link() < 0 && !s.client.stream {
		s.client.said = 0
	}
	if s.client.phase == bye {
		s.copies = [maxCopies]post{} // the goodbye and the end of its connections are of interest
	}
	for i, p := range s.copies {
		// A secret that is dead stays dead: nothing will come of it.
		if waited := s.client.post; p.secret != 0 && !s.good(p.secret) && p.secret != waited.secret {
			s.copies[i] = post{}
		}
	}
	if m.bounds.secrets == 0 {
		s.server.secrets.drop(s.unknown)
	}
}

// unknown says whether nobody but the server knows a secret, nor ever will.
func (s *state) unknown(secret uint16) bool {
	return secret != s.client.secret && secret != s.client.shows && secret != s.client.post.secret &&
		s.find(func(c *conn) bool { return c.secret == secret || c.shown == secret }) < 0 &&
		!slices.ContainsFunc(s.copies[:], func(p post) bool { return p.secret == secret })
}

// key is the same for states that differ only in the names of connections and
// secrets; other states have another, unless 64 bits collide.
func (s *state) key() uint64 {
	// Of secrets only the order counts.
	var room [5 + maxSecrets + 2*maxConns + maxCopies]uint16
	all := append(room[:0], 0, s.server.current, s.client.secret, s.client.shows, s.client.post.secret)
	all = append(all, s.server.secrets[:]...)
	for i := range s.conns {
		all = append(all, s.conns[i].shown, s.conns[i].secret)
	}
	for i := range s.copies {
		all = append(all, s.copies[i].secret)
	}
	for i := 1; i < len(all); i++ {
		for j := i; j > 0 && all[j] < all[j-1]; j-- {
			all[j], all[j-1] = all[j-1], all[j]
		}
	}
	all = slices.Compact(all)
	rank := func(secret uint16) uint64 {
		for i, other := range all {
			if other == secret {
				return uint64(i)
			}
		}
		panic("a secret from nowhere")
	}
	packPost := func(p post) uint64 {
		return rank(p.secret)<<32 | uint64(p.first)<<24 | uint64(p.last)<<16 | uint64(p.received)<<8 | uint64(p.answer)
	}

	var conns [maxConns][3]uint64
	for i, c := range s.conns {
		conns[i] = [3]uint64{
			rank(c.shown)<<40 | rank(c.secret)<<32 | uint64(c.client)<<24 | uint64(c.server)<<20 | uint64(c.base)<<12 | uint64(c.at)<<4 | bit(c.stream)<<1 | bit(c.cut),
			uint64(c.up), uint64(c.down),
		}
	}
	sortConns(&conns)
	var copies [maxCopies]uint64
	for i, p := range s.copies {
		copies[i] = packPost(p)
	}
	for i := 1; i < len(copies); i++ {
		for j := i; j > 0 && copies[j] < copies[j-1]; j-- {
			copies[j], copies[j-1] = copies[j-1], copies[j]
		}
	}

	v, c := &s.server, &s.client
	h := mix(0, uint64(v.over)<<48|uint64(v.received)<<40|uint64(v.written)<<32|uint64(v.cursor)<<24|uint64(v.acked)<<16|uint64(v.evicted)<<8|bit(v.timer))
	for _, secret := range v.secrets {
		if secret != 0 {
			h = mix(h, rank(secret))
		}
	}
	h = mix(h, uint64(c.phase)<<40|uint64(c.received)<<32|uint64(c.pushed)<<24|uint64(c.known)<<16|uint64(c.said)<<8|bit(c.stream)<<1|bit(c.bye))
	h = mix(h, rank(v.current)<<16|rank(c.secret)<<8|rank(c.shows))
	h = mix(h, packPost(c.post))
	for _, p := range copies {
		h = mix(h, p)
	}
	for _, c := range conns {
		h = mix(mix(mix(h, c[0]), c[1]), c[2])
	}
	return h
}

// sortConns orders connections, which have no order of their own.
func sortConns(conns *[maxConns][3]uint64) {
	for i := 1; i < len(conns); i++ {
		for j := i; j > 0 && slices.Compare(conns[j][:], conns[j-1][:]) < 0; j-- {
			conns[j], conns[j-1] = conns[j-1], conns[j]
		}
	}
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// mix adds a word to a hash; it is one step of splitmix64.
func mix(h, word uint64) uint64 {
	h = (h ^ word) + 0x9e3779b97f4a7c15
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}
