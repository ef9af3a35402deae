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
	top   atomic.Uint64 // the highest offset that this node has seen
	other string        // of the settings what differs, as last told; used by one goroutine
}

// saw takes note of an offset.
func (s *stream) saw(offset uint64) {
	for {
		was := s.top.Load()
		if offset <= was || s.top.CompareAndSwap(was, offset) {
			return
		}
	}
}

// life is a stream from when it was made.
type life struct {
	epoch    string
	log, say string // what subjects begin with
	made     time.Time
	config   jetstream.StreamConfig
	clock    clock
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
		err := all.settle(within, s)
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
		if forbidden := all.site.forbidden.Load(); forbidden != nil {
			return fmt.Errorf("the account lacks a right: %w", *forbidden)
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

// settle meets a stream that has the settings it should have, or is given them.
func (all *streams) settle(ctx context.Context, s *stream) error {
	info, err := all.find(ctx, s)
	if err != nil {
		return err
	}
	if differs := all.want.differs(&info.Config); differs != nil {
		if !all.want.options.Adopt {
			return fmt.Errorf("stream %s: %w; Adopt lets it be changed", s.name, differs)
		}
		stream, err := all.js.UpdateStream(ctx, all.want.adopted(info.Config))
		if err != nil {
			return fmt.Errorf("stream %s: change its settings: %w", s.name, err)
		}
		info = stream.CachedInfo()
	}
	all.note(s, info)
	return nil
}

// change is what has become of a stream since it was met.
type change int

const (
	unchanged change = iota
	renewed          // it was made anew
	shortened        // its last messages are lost, and their offsets are given again
)

// meet finds a stream or makes it, and takes note of how it is now. What an operator has changed
// of its settings since this node was opened counts.
func (all *streams) meet(ctx context.Context, s *stream) (change, error) {
	top := s.top.Load() // before it is asked for: more may be stored meanwhile
	info, err := all.find(ctx, s)
	if err == nil && info.State.LastSeq < top { // a leader that is new may not have all yet
		select {
		case <-time.After(lossPause):
			info, err = all.find(ctx, s)
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	if err != nil {
		return unchanged, err
	}
	other := ""
	if differs := all.want.differs(&info.Config); differs != nil {
		other = differs.Error()
	}
	if other != s.other {
		all.site.log.Warn("broker/nats: the settings of a stream were changed", "stream", s.name, "differs", other)
		s.other = other
	}
	switch {
	case all.note(s, info):
		s.top.Store(0)
		return renewed, nil
	case info.State.LastSeq < top:
		s.top.Store(info.State.LastSeq)
		return shortened, nil
	}
	return unchanged, nil
}

// note takes note of how a stream is now, and reports whether it was made anew.
func (all *streams) note(s *stream, info *jetstream.StreamInfo) bool {
	epoch, _ := all.want.epoch(s.index, &info.Config)
	was, names := s.now.Load(), all.site.names
	s.now.Store(&life{
		epoch: epoch, log: names.log(s.index, epoch), say: names.say(s.index, epoch), made: info.Created, config: info.Config,
		clock: clock{wall: all.want.options.wall, then: info.TimeStamp, here: all.want.options.wall()},
	})
	return was != nil && was.epoch != epoch
}

// find returns a stream that nodes can rely on, and makes it if there is none.
func (all *streams) find(ctx context.Context, s *stream) (*jetstream.StreamInfo, error) {
	stream, err := all.findOnce(ctx, s)
	for wait := pause; errors.Is(err, jetstream.ErrStreamNotFound); wait = min(2*wait, maxPause) {
		// Another node makes it, and the servers have not all heard of it.
		select {
		case <-time.After(wait):
			stream, err = all.findOnce(ctx, s)
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", s.name, err)
	}
	info := stream.CachedInfo()
	if _, err := all.want.epoch(s.index, &info.Config); err != nil {
		return nil, fmt.Errorf("stream %s: %w", s.name, err)
	}
	return info, nil
}

func (all *streams) findOnce(ctx context.Context, s *stream) (jetstream.Stream, error) {
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
	err = calls.again(ctx, false, func(ctx context.Context) error {
		m := &client.Msg{Subject: s.now.Load().subject(topic), Header: client.Header{headerExpectTop: {"9223372036854775807"}}}
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
