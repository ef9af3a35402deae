// Package wire turns frames into bytes and bytes into frames. It knows the
// five-array of Phoenix V2, the additions of the chime dialect, the objects of
// Phoenix V1 and of Amber, and how they are framed on a WebSocket (RFC 6455)
// and in an event stream (WHATWG HTML, section 9.2). It knows nothing of
// connections, channels or history.
//
// What goes to many clients is a [Message]: it is encoded once per form and
// its bytes are shared. What comes from a client is a [Frame], decoded by
// [Decode] or its like for another dialect, which owns its memory.
package wire

import "unicode/utf8"

// Topics and events that chime and Phoenix keep for themselves.
const (
	TopicChime   = "chime"   // hello, heartbeat, ack, probe, goodbye, moved, drain, closed
	TopicPhoenix = "phoenix" // heartbeat of Phoenix clients

	EventJoin  = "phx_join"
	EventLeave = "phx_leave"
	EventReply = "phx_reply"
	EventClose = "phx_close"
	EventError = "phx_error"

	EventHistory  = "@history"  // a member asks for what came before
	EventPosition = "@position" // moves the position of a member, which was sent nothing else

	EventHello     = "hello"
	EventHeartbeat = "heartbeat"
	EventAck       = "ack"
	EventProbe     = "probe"
	EventProbeOK   = "probe_ok"
	EventMoved     = "moved"
	EventGoodbye   = "goodbye"
	EventDrain     = "drain"
	EventClosed    = "closed"
)

// Events of a topic that the server makes by itself.
const (
	EventDraftState = "draft_state" // all drafts of the topic, as they are
	EventDraftStart = "draft_start"
	EventDraftDelta = "draft_delta"
	EventDraftEnd   = "draft_end"
)

// MaxName is the longest topic or event, in bytes: the binary frames of
// Phoenix V2 give one byte to their lengths.
const MaxName = 255

// Counted reports whether frames of a topic are numbered: all are but those
// that keep the connection itself.
func Counted(topic string) bool { return topic != TopicChime && topic != TopicPhoenix }

// ValidName reports whether s can be a topic or an event: 1 to MaxName bytes of
// UTF-8 without control characters, which would let a name break a log line.
func ValidName(s string) bool {
	if s == "" || len(s) > MaxName || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if r < 0x20 || (r >= 0x7f && r < 0xa0) || r == 0x2028 || r == 0x2029 {
			return false
		}
	}
	return true
}
