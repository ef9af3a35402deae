package nats

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/go-chime/chime/broker"
)

// stream is one of those that topics are spread over. Its epoch is a part of its subjects,
// and was made with it: a stream that was deleted and made anew has another.
type stream struct {
	index int
	name  string
	now   atomic.Pointer[life]
}

// life is a stream from when it was made.
type life struct {
	epoch    string
	log, say string // what subjects begin with
	made     time.Time
}

// subject is that of a topic's messages.
func (l *life) subject(topic string) string { return l.log + token(topic) }

func newEpoch() string {
	var b [9]byte
	_, _ = rand.Read(b[:]) // ends the program rather than fail
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// streams are all that topics are spread over: it finds them or makes them.
type streams struct {
	site *site
	js   jetstream.JetStream
	want settings
	list []*stream
}

func newStreams(s *site, o Options) (*streams, error) {
	js, err := jetstream.New(s.conn)
	if err != nil {
		return nil, err
	}
	all := &streams{site: s, js: js, want: settings{o, s.names}}
	for i := range o.Streams {
		all.list = append(all.list, &stream{index: i, name: s.names.stream(i)})
	}
	return all, nil
}

// of returns the one a topic is in.
func (all *streams) of(topic string) *stream { return all.list[spread(topic, len(all.list))] }

// open meets all streams, and tries again until ctx ends where that may help.
func (all *streams) open(ctx context.Context) error {
	for _, s := range all.list {
		if err := all.meetFor(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (all *streams) meetFor(ctx context.Context, s *stream) error {
	for wait, limit := pause, attempt; ; wait, limit = min(2*wait, maxPause), min(2*limit, maxAttempt) {
		within, cancel := context.WithTimeout(ctx, limit)
		_, err := all.meet(within, s)
		cancel()
		if errors.Is(toAPI(err), client.ErrNoResponders) && all.without() {
			err = jetstream.ErrJetStreamNotEnabled
		}
		again := errors.Is(err, context.DeadlineExceeded) || passing(toAPI(err)) || isCode(toAPI(err), codeResources) ||
			errors.Is(err, jetstream.ErrStreamNotFound) // another node is making it
		switch {
		case err == nil:
			return nil
		case isCode(toAPI(err), codeNotEnabled, codeNotForAccount), errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
			return fmt.Errorf("the server has no JetStream, or not for this account: want it with jetstream enabled: %w", err)
		case !again:
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w: %w", broker.ErrUnavailable, err, context.Cause(ctx))
		}
	}
}

// without reports whether the server has no JetStream, and no others that may.
func (all *streams) without() bool {
	conn := all.site.conn
	has, _ := conn.ConnectedServerJetStream()
	return !has && conn.ConnectedClusterName() == "" && conn.IsConnected()
}

// meet finds a stream or makes it, and takes note of its epoch. It reports whether that is
// another than before.
func (all *streams) meet(ctx context.Context, s *stream) (changed bool, err error) {
	info, err := all.find(ctx, s)
	for wait := pause; errors.Is(err, jetstream.ErrStreamNotFound); wait = min(2*wait, maxPause) {
		// Another node makes it, and the servers have not all heard of it.
		select {
		case <-time.After(wait):
			info, err = all.find(ctx, s)
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	if err != nil {
		return false, fmt.Errorf("stream %s: %w", s.name, err)
	}
	c := info.CachedInfo()
	epoch, err := all.want.epoch(s.index, &c.Config)
	if err != nil {
		return false, fmt.Errorf("stream %s: %w", s.name, err)
	}
	if differs := all.want.differs(&c.Config); differs != nil {
		if !all.want.options.Adopt {
			return false, fmt.Errorf("stream %s: %w; Adopt lets it be changed", s.name, differs)
		}
		if _, err := all.js.UpdateStream(ctx, all.want.adopted(c.Config)); err != nil {
			return false, fmt.Errorf("stream %s: change its settings: %w", s.name, err)
		}
	}
	was, names := s.now.Load(), all.site.names
	s.now.Store(&life{epoch: epoch, log: names.log(s.index, epoch), say: names.say(s.index, epoch), made: c.Created})
	return was != nil && was.epoch != epoch, nil
}

// find returns a stream, and makes it if there is none.
func (all *streams) find(ctx context.Context, s *stream) (jetstream.Stream, error) {
	info, err := all.js.Stream(ctx, s.name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if info, err = all.js.CreateStream(ctx, all.want.config(s.index, newEpoch())); isCode(toAPI(err), codeNameInUse) { // by another node
			info, err = all.js.Stream(ctx, s.name)
		}
	}
	return info, err
}

// ping sends a message to the leader of a stream, which refuses it and names the last
// sequence of the topic. It takes the way of what is published, behind whatever this node has
// subscribed to: from the answer on the leader's server knows of that.
func (all *streams) ping(ctx context.Context, s *stream, topic string) (top uint64, err error) {
	calls := all.site.calls
	m := &client.Msg{Subject: s.now.Load().subject(topic), Header: client.Header{headerExpectTop: {"9223372036854775807"}}}
	err = calls.again(ctx, false, func(ctx context.Context) error {
		_, err := calls.store(ctx, m)
		return err
	})
	if isCode(err, codeWrongTop, codeWrongTopBusy) {
		return topIn(err), nil
	}
	if err == nil {
		err = errors.New("a message that must be refused was taken")
	}
	return 0, err
}

// toAPI is an error of the jetstream package as one of ours.
func toAPI(err error) error {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return &apiError{Code: api.Code, ErrCode: int(api.ErrorCode), Description: api.Description}
	}
	return err
}
