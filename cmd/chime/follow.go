package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/r3labs/sse/v2"
)

const (
	openTime  = 10 * time.Second // for the head of an answer
	quietTime = 45 * time.Second // without a byte; a server sends a heartbeat every 15 s
	longWait  = 30 * time.Second // the longest pause between two attempts, and what a server may ask for
	provenFor = 5 * time.Second  // a connection this old did work: the next pause is short again
	maxEvent  = 16 << 20         // bytes; the reader's own 64 KiB is less than a large message with its frame
)

// follower reads one topic over as many connections as it takes. Its fields
// belong to the goroutine that runs follow.
type follower struct {
	mount, topic string
	url          string // of the topic, below the mount
	token        string // sent to this server only; empty: none
	transport    http.RoundTripper
	firstWait    time.Duration // the longest first pause; it doubles up to longWait
	print        func(frame) error
	note         func(what string)

	position string        // the last event's id, sent on coming back
	retry    time.Duration // the pause that the server wants
	joined   time.Time     // when this connection's join was answered; zero before
	been     bool          // it has joined, now or before
}

// fatal is an error that trying again would not cure.
type fatal struct{ error }

func (f fatal) Unwrap() error { return f.error }

// follow returns nil when ctx is done, and otherwise only what is fatal.
func (f *follower) follow(ctx context.Context) error {
	for failures := 0; ; failures++ {
		f.retry, f.joined = 0, time.Time{}
		err := f.connect(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // whatever broke, it was to end
		}
		if end := (fatal{}); errors.As(err, &end) {
			return end.error
		}
		if f.been = f.been || !f.joined.IsZero(); !f.been {
			// Later the same is the trouble of a server, or of this machine's network.
			if remedy, hopeless := misled(err); hopeless {
				return fmt.Errorf("--url %s: %w: %s", f.mount, err, remedy)
			}
		}
		if !f.joined.IsZero() && time.Since(f.joined) > provenFor {
			failures = 0
		}
		// Full jitter: after a restart of the server its readers shall not
		// come back all at once. The server says the shortest.
		wait := min(f.firstWait<<min(failures, 10), longWait)
		wait = f.retry + rand.N(wait)
		f.note(fmt.Sprintf("%v; again in %v", err, max(wait.Round(100*time.Millisecond), 100*time.Millisecond)))
		again := time.NewTimer(wait)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return nil
		}
	}
}

// misled reports whether err is of an address that leads to no server of ours,
// now or later, and what to look at. A refused connection is not: the server may not have started yet.
func misled(err error) (remedy string, hopeless bool) {
	var name *net.DNSError
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &name) && name.IsNotFound:
		return "check the name of the host", true
	case errors.As(err, &certificate):
		return "want a certificate that this machine trusts", true
	case errors.Is(err, http.ErrSchemeMismatch):
		return "want http://", true
	case errors.As(err, &record):
		return "the server does not speak https", true
	}
	return "", false
}

// connect reads one connection to its end, and says why it ended.
//
// The library would reconnect by itself, but takes the clean end of a stream,
// which is how a server restarts, for the end of the work; so it gets one
// attempt a client. It calls all of the below on this goroutine.
func (f *follower) connect(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	client := sse.NewClient(f.url, sse.ClientMaxBufferSize(maxEvent))
	client.Connection = &http.Client{
		Transport: f.transport,
		// A redirect would take the token to another port, or another server.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if f.token != "" {
		client.Headers["Authorization"] = "Bearer " + f.token
	}
	client.ReconnectStrategy = once{}
	client.ResponseValidator = func(_ *sse.Client, resp *http.Response) error {
		if err := f.checkAnswer(resp); err != nil {
			resp.Body.Close() // the library leaves this open
			return err
		}
		resp.Body = watch(resp.Body, cancel)
		return nil
	}
	if f.position != "" {
		// Not the library's own: it would count an event that was cut short.
		client.LastEventID.Store([]byte(f.position))
	}
	err := client.SubscribeRawWithContext(ctx, func(e *sse.Event) {
		if ctx.Err() != nil {
			return // what is still in the reader's buffer, after the end
		}
		if err := f.take(e); err != nil {
			cancel(err)
		}
	})
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if inner := (*url.Error)(nil); errors.As(err, &inner) {
		err = inner.Err // the address is known
	}
	if err == nil {
		err = errors.New("the stream ended")
	}
	return err
}
