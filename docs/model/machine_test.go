package model

// machine is the protocol with bounds, and with the rules that a mutant breaks.
type machine struct {
	bounds bounds
	rules  rules
}

// bounds keep the states few. Cuts, losses, repeats and attempts are not among
// them: of each there may be any number, one after the other.
type bounds struct {
	up, down        uint8 // counted frames each way
	ring            uint8 // frames that are written and not acknowledged, before the oldest is forgotten
	conns           int   // connections that one side or the other knows of
	attempts        int   // of the client at a time
	candidates      int   // at the server at a time
	secrets         int   // good ones besides the current; 0 is any number
	copies          int   // POSTs under way
	webSocket       bool
	stream          bool
	showsUnpromoted bool // the client shows the secret of the last hello, promoted or not
	beats           bool // the server says what it received
	leaves          bool // the client may say goodbye
}

// rules are ways to break the protocol.
type rules struct {
	// of the server
	killsAtHello        bool
	killsYounger        bool
	killsNothing        bool
	forgetsUse          bool
	judgesRequest       bool
	rewindsToAcked      bool
	skipsTheHole        bool
	forgetsWritten      bool
	writesToCandidates  bool
	readsFormer         bool
	takesOverlap        bool
	promotesAgain       bool
	timerRunsOn         bool
	countsFromPromotion bool

	// of the client
	ignoresBase         bool
	forgetsDuringAttach bool
	hearsFormer         bool
	keepsOthers         bool
	neverRetries        bool
}

// start is a client that has asked for its first connection, and the server has
// answered.
func (m *machine) start(stream bool) state {
	var s state
	s.named = 1
	s.server.issued, s.server.current = 1, 1
	s.conns[0] = conn{name: 1, stream: stream, client: opening, server: current, secret: 1}
	s.conns[0].send(hello, 0)
	return s
}

// done says whether s is a good end: all has arrived and both sides agree on
// their connection, or the client knows that there is no more to come.
func (m *machine) done(s *state) bool {
	switch s.client.phase {
	case informed:
		return true
	case bye:
		return s.server.over != going
	}
	i := s.link()
	return s.server.over == going && i >= 0 && i == s.attached() && !s.conns[i].cut &&
		s.client.received == m.bounds.down && s.server.received == m.bounds.up
}
