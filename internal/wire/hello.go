package wire

// Hello is the payload of the server's first frame to a client of the chime dialect.
type Hello struct {
	ID          string      `json:"id"`
	Secret      string      `json:"secret"`
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

// NewHeartbeat returns a heartbeat that says how many counted frames were sent.
func NewHeartbeat(sent uint64) *Message {
	return control(EventHeartbeat, struct {
		Sent uint64 `json:"sent"`
	}{sent})
}

// NewDrain asks a client to come back after retryMS.
func NewDrain(retryMS int64) *Message {
	return control(EventDrain, struct {
		RetryMS int64 `json:"retry_ms"`
	}{retryMS})
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
