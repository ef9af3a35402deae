package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

// kind is what an error of the engine or of the way to it means.
type kind int

const (
	fatal   kind = iota // it will be the same again
	full                // there is no room
	refused             // nothing was done, and it may be done soon
	unknown             // nobody can say whether it was done
)

// soon are the errors of an engine that starts, is failed over or has lost others.
var soon = []string{"READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY", "UNKILLABLE", "MISCONF", "NOREPLICAS", "MOVED", "ASK", "NOSCRIPT", "REDIRECT"}

func kindOf(err error) kind {
	if answer, ok := rueidis.IsRedisErr(err); ok {
		text := answer.Error()
		says := func(word string) bool {
			return strings.HasPrefix(text, word+" ") || strings.Contains(text, "-"+word+" ") // within that of a script, before 7.0
		}
		switch {
		case says("OOM"):
			return full
		case slices.ContainsFunc(soon, says), strings.HasPrefix(text, "ERR max number of clients"):
			return refused
		}
		return fatal
	}
	if errors.Is(err, errPlain) || errors.Is(err, errWantTLS) {
		return fatal
	}
	if errors.Is(err, errLook) {
		return refused
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fatal
	}
	op, ok := errors.AsType[*net.OpError](err)
	switch {
	case ok && op.Op == "remote error": // an alert of TLS: the engine refuses the certificate of this node
		return fatal
	case ok && op.Op == "dial", errors.Is(err, rueidis.ErrNoAddr), errors.Is(err, errUnsent):
		return refused
	}
	return unknown
}

// attempt says how often something was tried before without an answer.
type attempt struct {
	n     int           // 1: not yet
	since time.Duration // since the first
}

var (
	// errOutcome is that an attempt before may have done it.
	errOutcome = errors.New("an attempt that was not answered may have done it")
	// errReplicas is that too few replicas have it.
	errReplicas = errors.New("the replicas do not have it yet")
)

// look calls do again for as long as the engine can't be reached. It changes nothing there that may
// not be changed twice. Close ends it: an engine that hangs must not hold that. What is written once
// has its answer then, or ends with the client.
func (e *engine) look(ctx context.Context, do func(ctx context.Context) error) error {
	return e.try(ctx, func(ctx context.Context, _ attempt) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		if e.ctx != nil {
			defer context.AfterFunc(e.ctx, cancel)()
		}
		err := do(ctx)
		if err != nil && kindOf(err) == unknown {
			err = fmt.Errorf("%w: %w", errLook, err)
		}
		return err
	})
}

// errLook is that nothing could have been done.
var errLook = errors.New("no answer")

// try calls do again for as long as the engine can't be reached. It says of an error
// whether something may have been done.
func (e *engine) try(ctx context.Context, do func(ctx context.Context, a attempt) error) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if e.ctx != nil && e.ctx.Err() != nil {
		return errClosed
	}
	bounded, cancel := context.WithTimeout(ctx, e.giveUp)
	defer cancel()
	began, a := time.Now(), attempt{n: 1}
	for tries := 0; ; tries++ {
		a.since = time.Since(began)
		err := do(bounded, a)
		if err == nil {
			return nil
		}
		if e.ctx != nil && e.ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", errClosed, err)
			return certainly(a.n == 1 && kindOf(err) != unknown, err, nil)
		}
		switch kindOf(err) {
		case fatal:
			return certainly(a.n == 1, err, nil)
		case full:
			return certainly(a.n == 1, err, store.ErrFull)
		case unknown:
			a.n++
			if errors.Is(err, errOutcome) || errors.Is(err, errReplicas) {
				return certainly(false, err, nil)
			}
		}
		if !pause(bounded, tries) {
			if cause := context.Cause(ctx); cause != nil {
				err = fmt.Errorf("%w: %w", cause, err)
			}
			return certainly(a.n == 1, err, broker.ErrUnavailable)
		}
	}
}

// certainly wraps err by why, which may be nil, if it is certain that nothing was done.
func certainly(certain bool, err, why error) error {
	switch {
	case !certain:
		why = broker.ErrUncertain
	case why == nil:
		return err
	}
	return fmt.Errorf("%w: %w", why, err)
}

// pause waits before the try that follows n others. It reports whether ctx has not ended.
func pause(ctx context.Context, n int) bool {
	most := min(20*time.Millisecond<<min(n, 5), 500*time.Millisecond)
	timer := time.NewTimer(most/2 + rand.N(most/2))
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
