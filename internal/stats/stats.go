// Package stats counts what happens in a Router, for whoever asks. Whoever counts
// adds to a number in memory, and no code of anybody else runs then: the names and
// forms of Prometheus are only made when somebody asks.
//
// What happens for each member of a topic is counted for all of them at once, and
// what many connections count at once is in parts.
package stats

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Transport is a transport as it is counted; Dialect is what a client speaks.
type (
	Transport uint8
	Dialect   uint8
)

// The transports, and the dialects. Bare is a stream without chime headers.
const (
	WebSocket Transport = iota
	SSE
	LongPoll

	PhoenixV2 Dialect = iota - 3
	PhoenixV1
	Amber
	Bare
	Chime

	transports = 3
	dialects   = 5
)

var (
	transportNames = [transports]string{"websocket", "sse", "longpoll"}
	dialectNames   = [dialects]string{"phoenix_v2", "phoenix_v1", "amber", "bare", "chime"}
)

// String is the name that package transport has for it.
func (t Transport) String() string { return transportNames[t] }

// Stats are the numbers of a Router. The zero value counts from zero. All may be used
// by many at once.
type Stats struct {
	FramesIn  Striped // that were handed on, those of the protocol itself included
	FramesOut Striped // that were written, not those that belong to a connection
	BytesOut  Striped
	Waits     Striped // requests for several clients that poll

	Refusals Causes[Refusal]
	Slow     Causes[Slow]
	Resumes  Causes[Resume]
	Missing  Causes[Scope]         // that a broker said of what it announces
	Found    Causes[Find]          // of the same, that it did not say
	Opening  [transports]Histogram // from the request until the hello is queued

	ends     Causes[int]
	detached atomic.Int64
	open     [transports][dialects]atomic.Int64
	opened   [transports][dialects]atomic.Uint64

	mu       sync.Mutex // guards patterns
	patterns []*Pattern
}

// Pattern are the numbers of the topics of one pattern.
type Pattern struct {
	HandleJoined, HandleMember, HandleMessage, HandleLeave, Outgoing Handler
	MarshalJSON                                                      Handler // of the reply to a join; that of another is part of HandleMessage
	Presence                                                         Handler // the function of that option, and MarshalJSON of what it returns

	Joins      Causes[Join]
	Recoveries Causes[Recovery]
	Overruns   atomic.Uint64 // members that the history no longer had all for
	Publish    Histogram
	Failed     Causes[Failure] // publishes that returned an error
	Fanout     Histogram

	name string
}

// Handler are the numbers of one handler.
type Handler struct {
	Seconds Histogram
	Panics  atomic.Uint64
}

// Done counts a call, which has panicked if it has not returned.
func (h *Handler) Done(took time.Duration, returned bool) {
	h.Seconds.Observe(took)
	if !returned {
		h.Panics.Add(1)
	}
}

// Pattern returns the numbers of one more pattern.
func (s *Stats) Pattern(name string) *Pattern {
	p := &Pattern{name: name}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.patterns = append(s.patterns, p)
	return p
}

// Opened counts a client socket that has opened.
func (s *Stats) Opened(t Transport, d Dialect) {
	s.open[t][d].Add(1)
	s.opened[t][d].Add(1)
}

// NotOpened takes back what Opened has counted.
func (s *Stats) NotOpened(t Transport, d Dialect) {
	s.open[t][d].Add(-1)
	s.opened[t][d].Add(^uint64(0))
}

// Detached counts a client socket that has lost its connection, or with -1 one that
// has another, or has ended without.
func (s *Stats) Detached(n int64) { s.detached.Add(n) }

// Moved counts a client socket that goes on with another transport.
func (s *Stats) Moved(from, to Transport, d Dialect) {
	s.open[from][d].Add(-1)
	s.open[to][d].Add(1)
}

// Ended counts a client socket that has ended; why is a transport.Reason.
func (s *Stats) Ended(t Transport, d Dialect, why string) {
	s.open[t][d].Add(-1)
	if i := slices.Index(ends, why); i >= 0 {
		s.ends.Add(i)
	}
}
