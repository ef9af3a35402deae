package nats

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
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

// format is that of messages. What is newer than a node knows it does not touch.
const (
	format    = "1"
	formatKey = "chime-format"
	// With another number of streams a topic would be looked for in another one.
	streamsKey = "chime-streams"
)

func newEpoch() string {
	var b [9]byte
	_, _ = rand.Read(b[:]) // ends the program rather than fail
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// wanted is a stream as it should be.
func (b *Broker) wanted(s *stream, epoch string) jetstream.StreamConfig {
	o := b.options
	log, say := b.names.log(s.index, epoch), b.names.say(s.index, epoch)
	c := jetstream.StreamConfig{
		Name:        s.name,
		Description: "histories of chime",
		Subjects:    []string{log + "*"},
		Storage:     jetstream.FileStorage,
		Replicas:    o.Replicas,
		// What is full takes nothing more, rather than forget topics in silence.
		Discard:           jetstream.DiscardNew,
		MaxBytes:          o.MaxBytes,
		MaxAge:            o.MaxAge,
		MaxMsgsPerSubject: int64(o.MaxPerTopic),
		Duplicates:        o.KeyWindow,
		AllowDirect:       true,
		AllowRollup:       true,
		RePublish:         &jetstream.RePublish{Source: log + "*", Destination: say + "{{wildcard(1)}}"},
		Metadata:          map[string]string{formatKey: format, streamsKey: strconv.Itoa(o.Streams)},
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = -1
	}
	if c.MaxMsgsPerSubject == 0 {
		c.MaxMsgsPerSubject = -1
	}
	return c
}

// meet finds a stream or makes it, and takes note of its epoch. It reports whether that is
// another than before.
func (b *Broker) meet(ctx context.Context, s *stream) (changed bool, err error) {
	info, err := b.find(ctx, s)
	for wait := pause; errors.Is(err, jetstream.ErrStreamNotFound); wait = min(2*wait, maxPause) {
		// Another node makes it, and the servers have not all heard of it.
		select {
		case <-time.After(wait):
			info, err = b.find(ctx, s)
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	if err != nil {
		return false, fmt.Errorf("stream %s: %w", s.name, err)
	}
	c := info.CachedInfo()
	epoch, err := b.compare(s, &c.Config)
	if err != nil {
		return false, fmt.Errorf("stream %s: %w", s.name, err)
	}
	if differs := b.differs(s, epoch, &c.Config); differs != "" {
		if !b.options.Adopt {
			return false, fmt.Errorf("stream %s: %s; Adopt lets it be changed", s.name, differs)
		}
		if _, err := b.js.UpdateStream(ctx, b.adopted(s, epoch, c.Config)); err != nil {
			return false, fmt.Errorf("stream %s: change its settings: %w", s.name, err)
		}
	}
	was := s.now.Load()
	s.now.Store(&life{epoch: epoch, log: b.names.log(s.index, epoch), say: b.names.say(s.index, epoch), made: c.Created})
	return was != nil && was.epoch != epoch, nil
}

// find returns a stream, and makes it if there is none.
func (b *Broker) find(ctx context.Context, s *stream) (jetstream.Stream, error) {
	info, err := b.inspect(ctx, s)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if info, err = b.js.CreateStream(ctx, b.wanted(s, newEpoch())); isCode(toAPI(err), codeNameInUse) { // by another node
			info, err = b.inspect(ctx, s)
		}
	}
	return info, err
}

func (b *Broker) inspect(ctx context.Context, s *stream) (jetstream.Stream, error) {
	return b.js.Stream(ctx, s.name)
}

// toAPI is an error of the jetstream package as one of ours.
func toAPI(err error) error {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return &apiError{Code: api.Code, ErrCode: int(api.ErrorCode), Description: api.Description}
	}
	return err
}

// compare returns the epoch of a stream that exists, or an error for settings that can't be
// changed while it has messages, and without which it is not what a node relies on.
func (b *Broker) compare(s *stream, c *jetstream.StreamConfig) (epoch string, err error) {
	if len(c.Subjects) == 1 {
		epoch, _ = strings.CutPrefix(c.Subjects[0], b.names.prefix+".log."+fmt.Sprint(s.index)+".")
		epoch, _ = strings.CutSuffix(epoch, ".*")
	}
	want := b.wanted(s, epoch)
	for _, v := range []struct {
		name      string
		got, want any
	}{
		{"subjects", c.Subjects, want.Subjects},
		{"format of messages", c.Metadata[formatKey], format},
		{"number of streams", c.Metadata[streamsKey], want.Metadata[streamsKey]},
		{"storage", c.Storage, want.Storage},
		{"retention", c.Retention, want.Retention},
		{"discard", c.Discard, want.Discard},
		{"allow direct", c.AllowDirect, true},
		{"allow rollup", c.AllowRollup, true},
		{"deny delete", c.DenyDelete, false},
		{"deny purge", c.DenyPurge, false},
		{"no ack", c.NoAck, false},
		{"republish", republished(c.RePublish), republished(want.RePublish)},
		{"sealed", c.Sealed, false},
		{"max messages", c.MaxMsgs, int64(-1)},
		{"discard new per subject", c.DiscardNewPerSubject, false},
	} {
		if fmt.Sprint(v.got) != fmt.Sprint(v.want) {
			return "", fmt.Errorf("%s: it has %v, want %v: another stream, or another version's", v.name, v.got, v.want)
		}
	}
	if epoch == "" || strings.ContainsAny(epoch, ".*>") {
		return "", fmt.Errorf("subjects: it has %v, want %v", c.Subjects, b.wanted(s, "EPOCH").Subjects)
	}
	return epoch, nil
}

func republished(r *jetstream.RePublish) string {
	if r == nil {
		return "none"
	}
	return fmt.Sprintf("%s to %s, headers only %t", r.Source, r.Destination, r.HeadersOnly)
}

// differs names the first setting that is not the one asked for, and may be changed.
func (b *Broker) differs(s *stream, epoch string, c *jetstream.StreamConfig) string {
	want := b.wanted(s, epoch)
	for _, v := range []struct {
		name      string
		got, want any
	}{
		{"replicas", c.Replicas, want.Replicas},
		{"max bytes", bound(c.MaxBytes), bound(want.MaxBytes)},
		{"max age", c.MaxAge, want.MaxAge},
		{"max messages per topic", bound(c.MaxMsgsPerSubject), bound(want.MaxMsgsPerSubject)},
		{"key window", c.Duplicates, want.Duplicates},
	} {
		if v.got != v.want {
			return fmt.Sprintf("%s: it has %v, want %v", v.name, v.got, v.want)
		}
	}
	return ""
}

// bound is -1 for each way to say that there is none.
func bound(n int64) int64 {
	if n <= 0 {
		return -1
	}
	return n
}

// adopted is c with the settings that may be changed.
func (b *Broker) adopted(s *stream, epoch string, c jetstream.StreamConfig) jetstream.StreamConfig {
	want := b.wanted(s, epoch)
	c.Replicas, c.MaxBytes, c.MaxAge = want.Replicas, want.MaxBytes, want.MaxAge
	c.MaxMsgsPerSubject, c.Duplicates = want.MaxMsgsPerSubject, want.Duplicates
	return c
}

// streamOf returns the one a topic is in.
func (b *Broker) streamOf(topic string) *stream { return b.streams[spread(topic, len(b.streams))] }

// subject is that of a topic's messages.
func (l *life) subject(topic string) string { return l.log + token(topic) }
