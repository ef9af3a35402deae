package nats

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"strings"
	"time"

	client "github.com/nats-io/nats.go"
)

// Options say where the servers are and how histories are kept on them. All nodes of an
// application give the same, but for URL and Log.
type Options struct {
	// URL names one server or more, separated by commas: "nats://user:password@host:4222".
	// With the scheme tls the connection is encrypted. It must be given, unless Server is.
	URL string
	// Server is one in the same process, which is connected to without a network; see
	// package embedded. URL is not used then.
	Server client.InProcessConnProvider
	// Connect is what else the connection needs: credentials in a file, certificates.
	Connect []client.Option

	// Prefix begins the names of streams and subjects, so that several applications can use
	// one account: letters, digits, "_" and "-", 32 at most. The default is "chime".
	Prefix string
	// Streams is over how many streams topics are spread, 64 at most; the default is 1. A
	// stream has one leader, which does all of its work. It can't be changed later.
	Streams int
	// Replicas is how many servers keep each message: 1, 3 or 5; the default is 1. With 1,
	// there is no history as long as that server is down.
	Replicas int

	// MaxPerTopic and MaxAge bound what is kept of any topic, beyond what its channel
	// retains. The default, 0, is without limit. A topic of which all is older than MaxAge is
	// forgotten; it is no less than KeyWindow.
	MaxPerTopic int
	MaxAge      time.Duration
	// MaxBytes bounds each stream, on each of its servers. Beyond it Publish returns
	// store.ErrFull. The default, 0, is what the servers allow.
	MaxBytes int64
	// KeyWindow is for how long a key is remembered, 100 ms at least; see broker.Caps. The
	// default is 2 min. The servers keep the ID of each message in memory for so long, some 100 bytes.
	KeyWindow time.Duration

	// GiveUp is how long a call waits for servers that can't be reached, or have no leader,
	// if its context lasts longer. The default is 10 s.
	GiveUp time.Duration
	// SyncAlways says that the servers write to the disk before they acknowledge, as with
	// sync_interval: always in their configuration. They can't be asked. Without it they do
	// so every 2 min, and messages do not survive a power cut.
	SyncAlways bool
	// Adopt lets Open change a stream that exists with another MaxPerTopic, MaxAge, MaxBytes,
	// KeyWindow or number of replicas. Without it that is an error.
	Adopt bool

	// Log is told of connections that are lost and restored. The default is slog.Default().
	Log *slog.Logger

	wall func() time.Time // the clock of this node; time.Now but in tests
}

const (
	defaultPrefix    = "chime"
	defaultKeyWindow = 2 * time.Minute
	defaultGiveUp    = 10 * time.Second
	maxStreams       = 64
)

var legalPrefix = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

// complete returns o with the defaults, or what is wrong with it.
func (o Options) complete() (Options, error) {
	if o.Prefix == "" {
		o.Prefix = defaultPrefix
	}
	if o.Streams == 0 {
		o.Streams = 1
	}
	if o.Replicas == 0 {
		o.Replicas = 1
	}
	if o.KeyWindow == 0 {
		o.KeyWindow = defaultKeyWindow
	}
	if o.GiveUp == 0 {
		o.GiveUp = defaultGiveUp
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.wall == nil {
		o.wall = time.Now
	}
	switch {
	case o.URL == "" && o.Server == nil:
		return o, errors.New("no server: want a URL, such as nats://localhost:4222")
	case o.Server == nil && strings.Contains(o.shown(), unreadable):
		return o, errors.New("a URL can't be read: want nats://user:password@host:4222, and a comma between two")
	case !legalPrefix.MatchString(o.Prefix):
		return o, fmt.Errorf("prefix %q: want 1 to 32 letters, digits, _ or -", o.Prefix)
	case o.Streams < 1 || o.Streams > maxStreams:
		return o, fmt.Errorf("%d streams: want 1 to %d", o.Streams, maxStreams)
	case o.Replicas != 1 && o.Replicas != 3 && o.Replicas != 5:
		return o, fmt.Errorf("%d replicas: want 1, 3 or 5", o.Replicas)
	case o.MaxPerTopic < 0 || o.MaxAge < 0 || o.MaxBytes < 0 || o.KeyWindow < 0 || o.GiveUp < 0:
		return o, errors.New("a bound below 0: want 0 for the default, or more")
	case o.KeyWindow < 100*time.Millisecond:
		return o, fmt.Errorf("key window %v: want 100ms at least", o.KeyWindow)
	case o.MaxAge > 0 && o.MaxAge < o.KeyWindow:
		return o, fmt.Errorf("max age %v: want no less than the key window, %v", o.MaxAge, o.KeyWindow)
	}
	return o, nil
}

// shown is the URL without what is secret in it.
func (o Options) shown() string {
	if o.Server != nil {
		return "the server in this process"
	}
	var list []string
	for one := range strings.SplitSeq(o.URL, ",") {
		list = append(list, redact(strings.TrimSpace(one)))
	}
	return strings.Join(list, ", ")
}

// unreadable stands for a URL of which nobody knows what in it is secret.
const unreadable = "a URL that can't be read"

// redact leaves out of a URL who connects.
func redact(address string) string {
	if !strings.Contains(address, "://") {
		address = "nats://" + address
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return unreadable
	}
	u.User, u.RawQuery = nil, ""
	return u.String()
}
