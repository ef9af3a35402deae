package clientsocket

import (
	"slices"

	"github.com/go-chime/chime/internal/stats"
)

const (
	// A client may race its transports; more candidates than that it does not need.
	maxCandidates = 4
	// Of connections that broke the hello may have been seen, so their secrets stay good.
	maxIssued = 8
)

// credentials are the secrets of a client socket: the current one, and those that
// went out with a hello and that no promotion has made the current one yet. They
// know which connection each went to, and never touch it; the client socket's mu
// guards them.
type credentials struct {
	current string
	by      stats.Transport // on which the current one was given
	hellos  int32           // of candidates, ever
	issued  []issued        // newer than the current one, the one used last at the end
}

// issued is a secret that is not the current one.
type issued struct {
	number int32 // of the hello it went out with
	secret string
	by     stats.Transport
	conn   *Connection // nil once it is broken
}

// candidate reports whether the connection that got the secret may be promoted.
func (is issued) candidate() bool { return is.conn != nil && !is.conn.out.closing }

// posts reports whether the frames of a client come in POSTs that has its secret by a
// transport.
func posts(by stats.Transport) bool { return by != stats.WebSocket }

// good reports whether secret leads to this client socket.
func (cr *credentials) good(secret string) bool {
	return secret == cr.current || cr.find(secret) >= 0
}

// find returns where secret is among the issued, or -1.
func (cr *credentials) find(secret string) int {
	return slices.IndexFunc(cr.issued, func(is issued) bool { return is.secret == secret })
}

// of returns where the secret of a connection is among the issued, or -1.
func (cr *credentials) of(n *Connection) int {
	return slices.IndexFunc(cr.issued, func(is issued) bool { return is.conn == n })
}

// issue adds a secret for n, which came with the secret used. That one is in use,
// so others go first when there are too many.
func (cr *credentials) issue(secret string, n *Connection, used string) {
	if i := cr.find(used); i >= 0 {
		is := cr.issued[i]
		cr.issued = append(slices.Delete(cr.issued, i, i+1), is)
	}
	cr.hellos++
	cr.issued = append(cr.issued, issued{cr.hellos, secret, n.line.Transport(), n})
}

// surplus returns the candidates that are too many, the oldest.
func (cr *credentials) surplus() []*Connection {
	var list []*Connection
	n := 0
	for _, is := range slices.Backward(cr.issued) {
		if !is.candidate() {
			continue
		}
		if n++; n > maxCandidates {
			list = append(list, is.conn)
		}
	}
	return list
}

// expel drops the secrets that are too many, and returns them. Those of
// candidates stay.
func (cr *credentials) expel() []string {
	var dropped []string
	for len(cr.issued) > maxIssued {
		i := slices.IndexFunc(cr.issued, func(is issued) bool { return !is.candidate() })
		dropped = append(dropped, cr.issued[i].secret)
		cr.issued = slices.Delete(cr.issued, i, i+1)
	}
	return dropped
}

// promote makes the i-th issued secret the current one. A client that promotes
// knows of no older hello any more; of a newer one it may have spoken already, if
// this word was late. So the former and the older secrets are dropped, and with
// them the candidates that are left.
func (cr *credentials) promote(i int) (chosen issued, dropped []string, left []*Connection) {
	chosen = cr.issued[i]
	dropped = append(dropped, cr.current)
	cr.issued = slices.DeleteFunc(cr.issued, func(is issued) bool {
		if is.number < chosen.number {
			dropped = append(dropped, is.secret)
			if is.candidate() {
				left = append(left, is.conn)
			}
		}
		return is.number <= chosen.number
	})
	cr.current, cr.by = chosen.secret, chosen.by
	return chosen, dropped, left
}

// broke takes note that n is broken: it is no candidate any more, but the client
// may have read its hello, so the secret stays good.
func (cr *credentials) broke(n *Connection) {
	if i := cr.of(n); i >= 0 {
		cr.issued[i].conn = nil
	}
}

// all returns all that are good, the current one first.
func (cr *credentials) all() []string {
	if cr.current == "" {
		return nil
	}
	list := []string{cr.current}
	for _, is := range cr.issued {
		list = append(list, is.secret)
	}
	return list
}
