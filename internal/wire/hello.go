package wire

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Hello is the payload of the server's first frame to a client of the chime dialect.
type Hello struct {
	ID          string      `json:"id"`
	Secret      string      `json:"secret"`
	Wait        string      `json:"wait,omitempty"` // what others may wait for, of a client that polls
	HeartbeatMS int64       `json:"heartbeat_ms"`
	GraceMS     int64       `json:"grace_ms"`
	Limits      HelloLimits `json:"limits"`
	Transports  []string    `json:"transports"`
	Resumed     bool        `json:"resumed"`
	Received    uint64      `json:"received"` // counted frames of the client that the server has
	Sent        uint64      `json:"sent"`     // counted frames that the server has sent
}

// HelloLimits are the limits a client must keep to.
type HelloLimits struct {
	MessageBytes  int `json:"message_bytes"`
	BatchBytes    int `json:"batch_bytes"`
	BatchMessages int `json:"batch_messages"`
	Topics        int `json:"topics"`
}

// Message returns the hello as a frame.
func (h Hello) Message() *Message {
	return control(EventHello, h)
}

// NewHeartbeat returns a heartbeat that says how many counted frames were sent
// to the client, and how many of its own have been received.
func NewHeartbeat(sent, received uint64) *Message {
	return control(EventHeartbeat, struct {
		Sent     uint64 `json:"sent"`
		Received uint64 `json:"received"`
	}{sent, received})
}

// NewMoved says that another connection now carries the frames of the client.
func NewMoved() *Message { return control(EventMoved, struct{}{}) }

// NewProbeOK answers a probe.
func NewProbeOK(nonce string) *Message {
	return control(EventProbeOK, struct {
		Nonce string `json:"nonce"`
	}{nonce})
}

// AckedBy reads the payload of an ack: how many counted frames a client has received.
func AckedBy(payload []byte) (uint64, error) {
	var ack struct {
		Received *uint64 `json:"received"`
	}
	if err := json.Unmarshal(payload, &ack); err != nil || ack.Received == nil {
		return 0, errors.New("ack does not say how many frames were received")
	}
	return *ack.Received, nil
}

// maxNonce bounds what the server writes for a probe.
const maxNonce = 64

// ProbedWith reads the payload of a probe.
func ProbedWith(payload []byte) (nonce string, err error) {
	var probe struct {
		Nonce *string `json:"nonce"`
	}
	if err := json.Unmarshal(payload, &probe); err != nil || probe.Nonce == nil || len(*probe.Nonce) > maxNonce {
		return "", fmt.Errorf("probe has no nonce: want a string of at most %d bytes", maxNonce)
	}
	return *probe.Nonce, nil
}

// NewDrain asks a client to come back after retryMS. Of its counted frames so many were
// taken, and no other will be.
func NewDrain(retryMS int64, received uint64) *Message {
	return control(EventDrain, struct {
		RetryMS  int64  `json:"retry_ms"`
		Received uint64 `json:"received"`
	}{retryMS, received})
}

// NewClosed says on a stream what a close frame says on a WebSocket.
func NewClosed(code CloseCode, reason string) *Message {
	return control(EventClosed, struct {
		Code   CloseCode `json:"code"`
		Reason string    `json:"reason"`
	}{code, reason})
}

// control returns a frame of the topic chime. Its payloads are structs of
// strings and numbers, which always encode.
func control(event string, payload any) *Message {
	text, err := marshal(payload)
	if err != nil {
		text = []byte("{}")
	}
	return NewFrame(Ref{}, Ref{}, TopicChime, event, text)
}
