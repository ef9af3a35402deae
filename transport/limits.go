package transport

import (
	"fmt"
	"time"
)

// NoLimit in a field of Limits that takes it bounds nothing.
const NoLimit = -1

// Limits bound what one client can make the server keep in memory, and how often it may
// ask for something. Zero means the default, in each field. Only where it says so there
// may be none, by [NoLimit]. An inbox has what one client has sent in one topic and its
// handler has not taken yet.
type Limits struct {
	MessageBytes  int // of one frame from a client; 64 KiB
	BatchBytes    int // of the body of one POST; 256 KiB, or what one frame takes if that is more
	BatchMessages int // frames in one POST; 100
	Topics        int // joined by one client at once; 100
	InboxMessages int // waiting in one inbox; 512
	InboxBytes    int // waiting in all inboxes of one client; 1 MiB

	// A client is slow, and is ended, when its connection takes nothing of what
	// waits for StuckFor, or when more than QueueBytes wait though it has been
	// written to. What a history has waits there, and does not count. QueueBytes
	// shrinks to a quarter of what is left of half of TotalQueueBytes, which is what
	// all queues hold together, where a large message counts once, however many
	// clients it waits for. What waits for a channel.Outgoing counts there, too. The other half is for those who read. What a client reads
	// shows in steps of up to some 200 kB: with less than that in StuckFor it may be
	// taken for one that does not read.
	QueueBytes      int           // 16 MiB
	TotalQueueBytes int           // 256 MiB
	StuckFor        time.Duration // 10 s

	// Written to a client that may resume, and not acknowledged. Beyond that the
	// oldest are forgotten, and a client that has missed one of them can't resume.
	// Bytes are those of payloads and names; in memory they take up to three times
	// as much.
	UnackedBytes    int // 256 KiB
	UnackedMessages int // 1024

	// Rates of one client socket: averages, of which ten seconds' worth may come at once.
	// A frame beyond is refused with the reason rate_limited, a POST beyond BytesPerSecond
	// with 429 and Retry-After; a client that goes on regardless, for as many again, is
	// ended. NoLimit is none.
	FramesPerSecond int // 1000
	JoinsPerSecond  int // of these frames, with requests for older messages; 100, and twice as many as Topics at once if that is more
	BytesPerSecond  int // 4 MiB

	// Rates of all clients of one Identity.ID, again with ten seconds' worth at once. A
	// request beyond is a 429 with Retry-After. NoLimit is none.
	ConnectsPerSecond int // 20; a resume is one, too
	PostsPerSecond    int // 200

	// How many client sockets there may be, detached ones included: of one Identity.ID,
	// and in all. One more is a 429, or in all a 503, with Retry-After. NoLimit is none.
	IdentitySockets int // 200
	ClientSockets   int // 100,000

	// The same of the anonymous clients of one remote address, as http.Request has it
	// when it comes to the Router: middleware such as chi's RealIP may have set it. Of several
	// nodes it is the first that counts. An
	// IPv6 address counts as its /64. The default is NoLimit, since people who share a
	// proxy, an office or a mobile network share an address, and would pay for each
	// other.
	AddressConnectsPerSecond int // NoLimit
	AddressPostsPerSecond    int // NoLimit
	AddressSockets           int // NoLimit
}

// batchEnvelope is what the body of a POST takes besides its frames.
const batchEnvelope = 128

type limit struct {
	name  string
	field *int
	def   int
	none  bool // it may be NoLimit
}

// limitsOf lists the fields of l. It is no method, since those of Limits take values.
func limitsOf(l *Limits) []limit {
	return []limit{
		{"MessageBytes", &l.MessageBytes, 64 << 10, false},
		{"BatchBytes", &l.BatchBytes, 256 << 10, false},
		{"BatchMessages", &l.BatchMessages, 100, false},
		{"QueueBytes", &l.QueueBytes, 16 << 20, false},
		{"TotalQueueBytes", &l.TotalQueueBytes, 256 << 20, false},
		{"Topics", &l.Topics, 100, false},
		{"InboxMessages", &l.InboxMessages, 512, false},
		{"InboxBytes", &l.InboxBytes, 1 << 20, false},
		{"UnackedBytes", &l.UnackedBytes, 256 << 10, false},
		{"UnackedMessages", &l.UnackedMessages, 1024, false},
		{"FramesPerSecond", &l.FramesPerSecond, 1000, true},
		{"JoinsPerSecond", &l.JoinsPerSecond, 100, true},
		{"BytesPerSecond", &l.BytesPerSecond, 4 << 20, true},
		{"ConnectsPerSecond", &l.ConnectsPerSecond, 20, true},
		{"PostsPerSecond", &l.PostsPerSecond, 200, true},
		{"IdentitySockets", &l.IdentitySockets, 200, true},
		{"ClientSockets", &l.ClientSockets, 100_000, true},
		{"AddressConnectsPerSecond", &l.AddressConnectsPerSecond, NoLimit, true},
		{"AddressPostsPerSecond", &l.AddressPostsPerSecond, NoLimit, true},
		{"AddressSockets", &l.AddressSockets, NoLimit, true},
	}
}

// WithDefaults returns l with its zero fields filled in.
func (l Limits) WithDefaults() Limits {
	batch := l.BatchBytes
	for _, f := range limitsOf(&l) {
		if *f.field == 0 {
			*f.field = f.def
		}
	}
	if l.StuckFor == 0 {
		l.StuckFor = 10 * time.Second
	}
	if batch == 0 {
		l.BatchBytes = max(l.BatchBytes, l.MessageBytes+batchEnvelope)
	}
	return l
}

// Check returns an error that names a limit which is out of range: one that is
// negative, and not a NoLimit where that may be, or a BatchBytes with which a frame of
// MessageBytes could come on a WebSocket only.
func (l Limits) Check() error {
	for _, f := range limitsOf(&l) {
		switch {
		case *f.field >= 0, f.none && *f.field == NoLimit:
		case f.none:
			return fmt.Errorf("limit %s: %d: want 1 or more, 0 for the default, or NoLimit", f.name, *f.field)
		default:
			return fmt.Errorf("limit %s: %d: want 1 or more, or 0 for the default", f.name, *f.field)
		}
	}
	if l.StuckFor < 0 {
		return fmt.Errorf("limit StuckFor: %v: want more than 0, or 0 for the default", l.StuckFor)
	}
	l = l.WithDefaults()
	if least := l.MessageBytes + batchEnvelope; l.BatchBytes < least {
		return fmt.Errorf("limit BatchBytes: %d: want at least %d, for a frame of MessageBytes and what is around it", l.BatchBytes, least)
	}
	return nil
}
