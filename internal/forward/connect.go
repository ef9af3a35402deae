package forward

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
)

// isConnect reports whether r opens a WebSocket on a stream of HTTP/2 (RFC 8441).
func isConnect(r *http.Request) bool {
	return r.Method == http.MethodConnect && r.Header.Get(protocol) == "websocket"
}

// protocol is where net/http has the pseudo-header of that name.
const protocol = ":protocol"

// connect forwards a WebSocket on a stream of HTTP/2. The other node is asked for one of
// HTTP/1.1: the frames are the same.
func (f *Forwarder) connect(answer *client, r *http.Request, c *call) {
	out := f.outgoing(c, r)
	out.Method, out.Body, out.ContentLength = http.MethodGet, nil, 0
	delete(out.Header, protocol)
	out.Header.Set("Connection", "Upgrade")
	out.Header.Set("Upgrade", "websocket")
	var key [16]byte
	_, _ = rand.Read(key[:]) // never fails; see crypto/rand
	out.Header.Set("Sec-WebSocket-Key", base64.StdEncoding.EncodeToString(key[:]))
	resp, err := f.proxy.Transport.RoundTrip(out)
	if err != nil {
		c.err = err
		return
	}
	defer resp.Body.Close()
	for _, name := range hops {
		resp.Header.Del(name)
	}
	resp.Header.Del("Sec-WebSocket-Accept")
	for name, values := range resp.Header {
		answer.Header()[name] = append(answer.Header()[name], values...)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		answer.WriteHeader(resp.StatusCode)
		_, _ = carry(answer, resp.Body)
		return
	}
	back, ok := resp.Body.(io.ReadWriteCloser)
	if !ok {
		c.err = errNoConn
		return
	}
	defer context.AfterFunc(c.ctx, func() { _ = back.Close() })() // the transport is done with it
	answer.WriteHeader(http.StatusOK)
	if answer.FlushError() != nil {
		return
	}
	f.tasks.Go(func() { // ends with the body, which ends with this request
		_, _ = carry(back, r.Body)
		_ = back.Close()
	})
	_, _ = carry(flushing{answer}, back)
}

var errNoConn = errors.New("an upgrade that is no connection")
