package transport

import (
	"fmt"
	"time"
)

// Limits bound what one client can make the server keep in memory. Zero means the
// default, in each field; there is no way to have none. An inbox has what one client
// has sent in one topic and its handler has not taken yet.
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
	// shrinks to a quarter of what all queues may still take: TotalQueueBytes is
	// what they hold together, where a large message counts once, however many
	// clients it waits for.
	QueueBytes      int           // 16 MiB
	TotalQueueBytes int           // 256 MiB
	StuckFor        time.Duration // 10 s

	// Written to a client that may resume, and not acknowledged. Beyond that the
	// oldest are forgotten, and a client that has missed one of them can't resume.
	// Bytes are those of payloads and names; in memory they take up to three times
	// as much.
	UnackedBytes    int // 256 KiB
	UnackedMessages int // 1024
}

// batchEnvelope is what the body of a POST takes besides its frames.
const batchEnvelope = 128

type limit struct {
	name  string
	field *int
	def   int
}

// limitsOf lists the fields of l. It is no method, since those of Limits take values.
func limitsOf(l *Limits) []limit {
	return []limit{
		{"MessageBytes", &l.MessageBytes, 64 << 10},
		{"BatchBytes", &l.BatchBytes, 256 << 10},
		{"BatchMessages", &l.BatchMessages, 100},
		{"QueueBytes", &l.QueueBytes, 16 << 20},
		{"TotalQueueBytes", &l.TotalQueueBytes, 256 << 20},
		{"Topics", &l.Topics, 100},
		{"InboxMessages", &l.InboxMessages, 512},
		{"InboxBytes", &l.InboxBytes, 1 << 20},
		{"UnackedBytes", &l.UnackedBytes, 256 << 10},
		{"UnackedMessages", &l.UnackedMessages, 1024},
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
// negative, or a BatchBytes with which a frame of MessageBytes could come on a
// WebSocket only.
func (l Limits) Check() error {
	for _, f := range limitsOf(&l) {
		if *f.field < 0 {
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
