package nats

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// format is that of messages. What is newer than a node knows it does not touch.
	format    = "1"
	formatKey = "chime-format"
	// With another number of streams a topic would be looked for in another one.
	streamsKey = "chime-streams"
)

// errForeign is for a stream that nodes can't rely on.
var errForeign = errors.New("another stream, or another version's")

// settings are what the streams of an application should be like.
type settings struct {
	options Options
	names   names
}

// config is the i-th stream as it should be.
func (w settings) config(i int, epoch string) jetstream.StreamConfig {
	o := w.options
	log, say := w.names.log(i, epoch), w.names.say(i, epoch)
	return jetstream.StreamConfig{
		Name:        w.names.stream(i),
		Description: "histories of chime",
		Subjects:    []string{log + "*"},
		Storage:     jetstream.FileStorage,
		Replicas:    o.Replicas,
		// What is full takes nothing more, rather than forget topics in silence.
		Discard:           jetstream.DiscardNew,
		MaxBytes:          bound(o.MaxBytes),
		MaxAge:            o.MaxAge,
		MaxMsgsPerSubject: bound(int64(o.MaxPerTopic)),
		Duplicates:        o.KeyWindow,
		AllowDirect:       true,
		AllowRollup:       true,
		RePublish:         &jetstream.RePublish{Source: log + "*", Destination: say + "{{wildcard(1)}}"},
		Metadata:          map[string]string{formatKey: format, streamsKey: strconv.Itoa(o.Streams)},
	}
}

// epoch returns the epoch of a stream that exists, or an error for settings that can't be
// changed while it has messages, and without which it is not what a node relies on.
func (w settings) epoch(i int, c *jetstream.StreamConfig) (string, error) {
	epoch := ""
	if len(c.Subjects) == 1 {
		epoch, _ = strings.CutPrefix(c.Subjects[0], strings.TrimSuffix(w.names.log(i, ""), "."))
		epoch, _ = strings.CutSuffix(epoch, ".*")
	}
	want := w.config(i, epoch)
	for _, v := range []setting{
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
		if v.differs() {
			return "", fmt.Errorf("%v: %w", v, errForeign)
		}
	}
	if epoch == "" || strings.ContainsAny(epoch, ".*>") {
		return "", fmt.Errorf("subjects: it has %v, want %v: %w", c.Subjects, w.config(i, "EPOCH").Subjects, errForeign)
	}
	return epoch, nil
}

// differs names the first setting of a stream that is not as it should be, and may be changed.
func (w settings) differs(c *jetstream.StreamConfig) error {
	want := w.config(0, "")
	for _, v := range []setting{
		{"replicas", c.Replicas, want.Replicas},
		{"max bytes", bound(c.MaxBytes), want.MaxBytes},
		{"max age", c.MaxAge, want.MaxAge},
		{"max messages per topic", bound(c.MaxMsgsPerSubject), want.MaxMsgsPerSubject},
		{"key window", c.Duplicates, want.Duplicates},
	} {
		if v.differs() {
			return errors.New(v.String())
		}
	}
	return nil
}

// adopted is c with the settings that may be changed.
func (w settings) adopted(c jetstream.StreamConfig) jetstream.StreamConfig {
	want := w.config(0, "")
	c.Replicas, c.MaxBytes, c.MaxAge = want.Replicas, want.MaxBytes, want.MaxAge
	c.MaxMsgsPerSubject, c.Duplicates = want.MaxMsgsPerSubject, want.Duplicates
	return c
}

// setting is one of a stream.
type setting struct {
	name      string
	got, want any
}

func (v setting) differs() bool { return fmt.Sprint(v.got) != fmt.Sprint(v.want) }

func (v setting) String() string {
	return fmt.Sprintf("%s: it has %v, want %v", v.name, v.got, v.want)
}

func republished(r *jetstream.RePublish) string {
	if r == nil {
		return "none"
	}
	return fmt.Sprintf("%s to %s, headers only %t", r.Source, r.Destination, r.HeadersOnly)
}

// bound is -1 for each way to say that there is none.
func bound(n int64) int64 {
	if n <= 0 {
		return -1
	}
	return n
}
