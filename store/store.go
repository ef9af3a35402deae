// Package store keeps the messages of topics, for members that join or come back.
// It knows nothing of clients.
//
//	s := store.NewMemory()
//	offset, err := s.Append(ctx, "room:1", store.Message{Event: "new", Payload: p}, store.Retention{Keep: 1000}, nil)
//	page, err := s.Read(ctx, "room:1", store.Range{Newest: true, Limit: 50})
//
// It promises one order per topic, and that a reader that continues from a
// [Position] learns when something in between is no longer there. It does not
// promise how long beyond the [Retention] a message takes up room. Package
// storetest holds every implementation to this.
package store

import (
	"context"
	"errors"
	"math"
	"time"
)

var (
	// ErrClosed is returned by every method but Epoch after the store was closed.
	ErrClosed = errors.New("store is closed")

	// ErrFull is returned by Append, and by others that have to write, as long as
	// there is no room. What the store has can be read, and the same call can
	// succeed later.
	ErrFull = errors.New("store is full")

	// ErrNotFound is returned by Redact for a message that is not, or no longer, kept.
	ErrNotFound = errors.New("no such message")

	// ErrKeyReused is returned by Append for a message whose key one that says
	// something else has.
	ErrKeyReused = errors.New("key is that of another message")
)

// Store keeps messages by topic. All methods are safe for concurrent use, and
// begin nothing when their context is already done: they return its error then.
//
// A topic is any string; it begins with its first Append, and nothing else
// creates it. It is remembered, even when all its messages are gone, for at
// least 30 days after its last one. If it begins anew after that, positions from
// before are incomplete; so may then be offset 0 of any topic that begins later. A
// store with a bound may forget a topic sooner, to the same effect.
//
// Errors say which operation failed and of which topic: callers hand them on.
type Store interface {
	// Epoch names this history. Offsets of another epoch mean nothing here: it
	// changes whenever offsets could have been lost or given twice. It does not
	// block, and is the same as long as the store is open.
	Epoch() string

	// Append keeps m as the next message of topic, then calls announce, unless
	// nil, with Offset, Prev and At set, and then returns the offset. What keep does
	// not cover is trimmed in the same step. On an error nothing was announced.
	//
	// If a message of the topic that is kept has m's Key, nothing is appended,
	// trimmed or announced: Append returns the offset of that one, which was
	// announced before, or [ErrKeyReused] if it says something else. A key is free
	// again when its message is no longer kept. That holds for appends at the same
	// time too, and for as long as the epoch lasts.
	//
	// Announcements of one topic come one at a time, in the order of their
	// offsets; a Read that begins after one finds its message. announce must
	// not block and must not call the store: the topic waits for it.
	//
	// If m Erases something, that is removed in the same step, as by Redact or Forget,
	// before anything is trimmed. If it is not kept, or the topic is not known, nothing
	// is appended, and the error is [ErrNotFound]. A bound in bytes is no reason to
	// refuse it.
	//
	// The store owns m.Payload from the call on. ctx bounds admission only: a
	// message that was admitted is kept whatever becomes of ctx.
	Append(ctx context.Context, topic string, m Message, keep Retention, announce func(Message)) (offset uint64, err error)

	// Read returns what r asks for of topic, as it is at one moment. A message
	// that has aged is never returned, be it trimmed yet or not. A topic that
	// is not known is empty, not an error.
	Read(ctx context.Context, topic string, r Range) (Page, error)

	// Forget drops the messages of topic. It never reuses an offset, and a
	// position before its last one is incomplete from then on. Forgetting what
	// is not known is no error.
	Forget(ctx context.Context, topic string) error

	// Redact removes the message at offset from topic, or returns ErrNotFound.
	// Positions before it stay complete: what was redacted is not missing.
	Redact(ctx context.Context, topic string, offset uint64) error
}

// Position is a place in the history of one topic: behind the message at
// Offset, of the store whose epoch is Epoch. Offset 0 is before the first.
type Position struct {
	Epoch  string `json:"epoch"`
	Offset uint64 `json:"offset"`
}

// Message is one message of a topic. It does not change once appended. Payload
// is shared by all who read it: never modify it.
type Message struct {
	// Offset is given by Append, from one sequence for the whole store: it
	// increases within a topic, from 1 at least, but is not dense there.
	Offset uint64

	// Prev is given by Append: the offset of the message that the topic was
	// given before this one, whether that is still kept or not; 0 for the first
	// that is remembered.
	Prev uint64

	// At is when the message was said. Zero is now; so is a time yet to come,
	// and one before the At of the message kept before it becomes that: a topic
	// ages in its order.
	At time.Time

	Event   string
	Payload []byte // JSON text, or any bytes when Binary
	Binary  bool

	// Key has the message appended once, however often Append is called with it;
	// see there, and [CheckKey]. "" is none. A topic has its own keys.
	Key string

	// Sum stands for what is said where the payload is made anew each time, with a time
	// in it perhaps: see [Message.Says]. It is text like a key, "" is none.
	Sum string

	// Erases is the offset of the message that Append removes with this one, which is to
	// say so to all who have it; [All] is every message before. 0 is none. It is part of
	// the announcement, and not kept.
	Erases uint64
}

// All is for [Message.Erases].
const All = math.MaxUint64

// Retention says how much of a topic is kept. That of its last Append holds for
// all of the topic. Zero is without limit, in each field.
type Retention struct {
	Keep int           // the most messages; 0 or less: without limit
	Age  time.Duration // how long after its At a message is kept; 0 or less: without limit
}

// Range says what to read of a topic: what came after an offset, or the newest, or
// the newest before an offset. The zero value is all of it: zero is without limit,
// in each field.
type Range struct {
	Newest bool   // the newest messages before Before; else those after After
	After  uint64 // an offset; 0: from the beginning
	Before uint64 // an offset, which need not be one of this topic; 0, or beyond Top: up to Top
	Limit  int    // the most messages; 0 or less: without limit
	Bytes  int    // the most bytes of payload, though one message is returned whatever its size; 0 or less: without limit
}

// Page is what Read found.
type Page struct {
	Messages []Message // oldest first; the slice is the caller's own
	Epoch    string    // of the offsets in this page
	Top      uint64    // offset of the last message that the topic was given; 0 if it has none that is remembered

	// Complete says that nothing after Range.After and before the first of
	// Messages, or up to Top where there is none, was trimmed, has aged or was
	// forgotten, and that Range.After is not beyond Top.
	//
	// For Newest it says that nothing of the topic was, since it began as far as that is
	// remembered, and that Range.Before is not from before that: where More is not set,
	// the page goes back to the beginning. That can only be lost from the beginning
	// on, so there is never a hole within a page, or between it and Range.Before. If
	// there are no Messages, all before Range.Before are lost, or there were none.
	Complete bool

	// More says that Limit or Bytes ended the page: there are messages between it
	// and Top, for Newest before it.
	More bool
}

// Stats are the numbers of a store since it was opened. One that has a method
// Stats() Stats, which must not block for long, is shown by package metrics.
type Stats struct {
	Commits    uint64
	CommitTime time.Duration // of all of them together
	Bytes      int64         // in use
	MaxBytes   int64         // 0: no bound
	Topics     int64         // known
	MaxTopics  int64         // 0: no bound
}
