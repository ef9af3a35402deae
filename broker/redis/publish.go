package redis

import (
	"context"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"strconv"
	"time"
	"unsafe"

	"github.com/redis/rueidis"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
)

const (
	// maxPayload is the most that a message may have: with more of them Redis would cut the
	// connections that it announces by (client-output-buffer-limit pubsub 32mb 8mb 60).
	maxPayload = 4 << 20

	// A clock that is behind the last offset, after a fail-over perhaps, has the next one
	// be somewhere in the second after it: what was lost with the master that failed had
	// offsets there, which must not be given again.
	maxStep = 1 << 20

	nonceBytes = 9
)

// Publish implements broker.Broker. A message that is tried again, since the connection
// broke before the answer, is published once.
func (b *Broker) Publish(ctx context.Context, p broker.Publication, keep *store.Retention) (store.Position, error) {
	if err := context.Cause(ctx); err != nil {
		return store.Position{}, err
	}
	at, err := b.publish(ctx, &p, keep)
	if err != nil {
		return store.Position{}, fmt.Errorf("publish to %q: %w", p.Topic, err)
	}
	return at, nil
}

func (b *Broker) publish(ctx context.Context, p *broker.Publication, keep *store.Retention) (store.Position, error) {
	if err := p.CheckOnce(); err != nil {
		return store.Position{}, err
	}
	if n := len(p.Event) + len(p.Payload); n > maxPayload {
		return store.Position{}, tooLarge(n)
	}
	if keep == nil {
		return store.Position{}, b.announce(ctx, p)
	}
	began := time.Now()
	args := appendArgs(b.names.channel(p.Topic), p, keep)
	var answer []string
	err := b.try(ctx, func(ctx context.Context, a attempt) (err error) {
		args[1], args[2], args[3] = strconv.Itoa(a.n), strconv.FormatInt(a.since.Microseconds(), 10), strconv.Itoa(mathrand.IntN(maxStep))
		answer, err = b.append(ctx, b.names.keys(p.Topic), args)
		if err == nil && answer[0] == "unknown" {
			err = errOutcome
		}
		return err
	})
	if err != nil {
		return store.Position{}, err
	}
	b.numbers.commit(time.Since(began))
	return b.position(p, answer)
}

func tooLarge(bytes int) error {
	return fmt.Errorf("%w: %d bytes: want at most %d", broker.ErrTooLarge, bytes, maxPayload)
}

// appendArgs are those of script/publish.lua; the second to the fourth are of each attempt.
func appendArgs(channel string, p *broker.Publication, keep *store.Retention) []string {
	var nonce [nonceBytes]byte
	_, _ = rand.Read(nonce[:]) // ends the program rather than fail
	when, erases := "", ""
	if !p.At.IsZero() {
		when = strconv.FormatInt(p.At.UnixMicro(), 10)
	}
	switch p.Erases {
	case 0:
	case store.All:
		erases = erasesAll
	default:
		erases = strconv.FormatUint(p.Erases, 10)
	}
	return []string{
		string(nonce[:]), "", "", "", when,
		strconv.Itoa(max(keep.Keep, 0)), strconv.FormatInt(max(keep.Age.Microseconds(), 0), 10),
		p.Key, head(&p.Message), textOf(p.Payload), erases, p.From, channel,
	}
}

// textOf is b without a copy: a payload does not change.
func textOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// append runs the script, and waits for replicas if it is to.
func (e *engine) append(ctx context.Context, keys, args []string) ([]string, error) {
	if e.waits == 0 {
		return evaluate(ctx, e.client, publishScript, keys, args...)
	}
	// WAIT is about what the connection has written, so it has one of its own. A script that
	// finds what an attempt before has published has written something, too.
	var answer []string
	err := e.client.Dedicated(func(c rueidis.DedicatedClient) (err error) {
		if answer, err = evaluate(ctx, c, publishScript, keys, args...); err != nil || answer[0] != "ok" {
			return err
		}
		// It ends before the context does, to say how many have it.
		wait := e.giveUp
		if end, ok := ctx.Deadline(); ok {
			wait = time.Until(end)
		}
		n, err := c.Do(ctx, c.B().Wait().Numreplicas(e.waits).Timeout(max((wait*3/4).Milliseconds(), 1)).Build()).AsInt64()
		if err == nil && n < e.waits {
			err = fmt.Errorf("%w: %d have: want %d", errReplicas, n, e.waits)
		}
		return err
	})
	return answer, err
}

// position is that of an answer of script/publish.lua.
func (e *engine) position(p *broker.Publication, answer []string) (store.Position, error) {
	if len(answer) < 2 {
		switch answer[0] {
		case "not found":
			return store.Position{}, fmt.Errorf("erase %d: %w", p.Erases, store.ErrNotFound)
		case "late": // only an attempt that nobody waits for
			return store.Position{}, fmt.Errorf("%w: %w", broker.ErrUncertain, errOutcome)
		}
		return store.Position{}, fmt.Errorf("%w: %w", broker.ErrUncertain, errAnswer)
	}
	offset, err := strconv.ParseUint(answer[1], 10, 64)
	if err != nil {
		return store.Position{}, fmt.Errorf("%w: %w", broker.ErrUncertain, errAnswer)
	}
	if answer[0] == "key" {
		var first store.Message
		if len(answer) != 4 || setEntry(&first, answer[2]) != nil {
			return store.Position{}, fmt.Errorf("the message at offset %d: %w", offset, errForm)
		}
		if first.Payload = []byte(answer[3]); !first.Says(&p.Message) {
			return store.Position{}, fmt.Errorf("%w, at offset %d", store.ErrKeyReused, offset)
		}
	}
	return store.Position{Epoch: e.nowEpoch(), Offset: offset}, nil
}

// announce publishes what is not retained, once or not at all.
func (e *engine) announce(ctx context.Context, p *broker.Publication) error {
	if p.At.IsZero() {
		p.At = time.Now()
	}
	channel, text := e.names.channel(p.Topic), ephemeral(p)
	return e.try(ctx, func(ctx context.Context, a attempt) error {
		if a.n > 1 {
			return errOutcome
		}
		// What is retained is announced by the node of the Cluster that has the topic: from
		// another one it could overtake that.
		if e.cluster {
			return run(ctx, e.client, announceScript, []string{e.names.present(p.Topic)}, channel, text).Error()
		}
		return e.client.Do(ctx, e.client.B().Publish().Channel(channel).Message(text).Build()).Error()
	})
}

// Erase implements broker.Broker.
func (b *Broker) Erase(ctx context.Context, topic string, offset uint64) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	var nonce [nonceBytes]byte
	_, _ = rand.Read(nonce[:]) // ends the program rather than fail
	args := []string{string(nonce[:]), "", strconv.FormatUint(offset, 10), b.names.channel(topic)}
	var answer []string
	err := b.try(ctx, func(ctx context.Context, a attempt) (err error) {
		args[1] = strconv.Itoa(a.n)
		answer, err = evaluate(ctx, b.client, eraseScript, b.names.keys(topic), args...)
		return err
	})
	if err == nil && answer[0] == "not found" {
		err = store.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("erase %d of %q: %w", offset, topic, err)
	}
	return nil
}
