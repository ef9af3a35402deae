package wire

// CloseCode says why the server ended a connection, and thereby whether the
// client should come back. Codes below 4000 are those of RFC 6455, section 7.4.
type CloseCode uint16

const (
	CloseNormal       CloseCode = 1000 // the client closed, or said goodbye
	CloseDisconnect   CloseCode = 1001 // Disconnect, or the identity expired: come back with fresh credentials
	CloseProtocol     CloseCode = 1002 // broken WebSocket framing
	CloseNoStatus     CloseCode = 1005 // a close frame without a code; never sent
	CloseUndecodable  CloseCode = 1007 // a frame that can't be decoded
	CloseFlood        CloseCode = 1008 // the client went on beyond its rates: come back later
	CloseTooLarge     CloseCode = 1009 // a message over the limit
	CloseDrain        CloseCode = 1012 // the server is going down: come back later
	CloseSlow         CloseCode = 1013 // the client read too slowly for its queue, or came back too late to resume
	CloseReplaced     CloseCode = 4001 // another connection carries the client socket, or this one was never used
	CloseRefused      CloseCode = 4003 // refused: do not come back (chime dialect only)
	maxCloseReason              = 123  // RFC 6455, section 5.5: control frames hold 125 bytes, two are the code
	closePayloadStart           = 2
)
