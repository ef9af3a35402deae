package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

var (
	errUnsent  = errors.New("the connection was not there yet")
	errPlain   = errors.New("the engine has no TLS there: want redis:// in place of rediss://")
	errWantTLS = errors.New("the engine has TLS there: want rediss:// in place of redis://")
)

// plainAfter is how long a server does not answer to TLS before it is asked whether it has none:
// one that has none waits for the end of a line, in silence.
const plainAfter = 500 * time.Millisecond

// dial connects for the client library.
func dial(ctx context.Context, address string, d *net.Dialer, config *tls.Config) (net.Conn, error) {
	network := "tcp"
	if _, _, err := net.SplitHostPort(address); err != nil {
		network = "unix"
	}
	if config == nil {
		c, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &connection{Conn: c}, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, d.Timeout, context.DeadlineExceeded)
	defer cancel()
	ctx, refuse := context.WithCancelCause(ctx)
	defer refuse(nil)
	asking := time.AfterFunc(plainAfter, func() {
		if isPlain(ctx, address, d) {
			refuse(errPlain)
		}
	})
	defer asking.Stop()
	c, err := (&tls.Dialer{NetDialer: d, Config: config}).DialContext(ctx, network, address)
	if err != nil {
		if cause := context.Cause(ctx); errors.Is(cause, errPlain) {
			err = cause
		}
		return nil, err
	}
	return &connection{Conn: c}, nil
}

// isPlain reports whether a server answers without TLS.
func isPlain(ctx context.Context, address string, d *net.Dialer) bool {
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	var answer [1]byte
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	_, err = c.Read(answer[:])
	return err == nil && (answer[0] == '+' || answer[0] == '-') // it may want a password
}

// hasTLS reports whether a server has, which ends a connection without.
func hasTLS(ctx context.Context, address string, d net.Dialer) bool {
	d.Timeout = plainAfter
	c, err := (&tls.Dialer{NetDialer: &d}).DialContext(ctx, "tcp", address)
	if err == nil {
		_ = c.Close()
		return true
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error" // it wants a certificate
}

// connection is one to an engine. The client library writes first what makes it one, waits for the
// answers, and then writes commands. What ends a connection before that ends no command.
type connection struct {
	net.Conn
	writes atomic.Int32
}

func (c *connection) Write(b []byte) (int, error) {
	if c.writes.Add(1) > 2 { // it need not be counted on
		c.writes.Store(2)
	}
	return c.Conn.Write(b)
}

func (c *connection) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil && c.writes.Load() < 2 {
		err = fmt.Errorf("%w: %w", errUnsent, err)
	}
	return n, err
}
