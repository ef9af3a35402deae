package redis

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// Options are what may be said of a broker besides where it is. The zero value is usable.
type Options struct {
	// Prefix begins the names of all keys and channels, and is what sets two applications
	// on one engine apart: "chime" by default. Letters, digits, and any of "-_.:/".
	Prefix string

	// GiveUp is how long a call waits for an engine that can't be reached, if its context
	// does not end before: 10 s by default.
	GiveUp time.Duration

	// WaitReplicas is how many replicas must have a retained message before Publish
	// returns; 0 is none. Each message takes a connection and a round trip more then. If
	// they do not have it in three quarters of the time that there is, the outcome is not
	// known.
	WaitReplicas int

	// TLS is for rediss://; nil is what the system trusts.
	TLS *tls.Config

	// SentinelUsername and SentinelPassword are for the Sentinels, if those have any.
	SentinelUsername, SentinelPassword string

	pace  time.Duration // of beats: beatEvery, unless a test has less time
	feeds int           // how many connections this node is told by: defaultFeeds, unless a test has one

	// Log is told of connections that are lost, and of those that are there again; nil is
	// slog.Default().
	Log *slog.Logger
}

const (
	defaultPrefix = "chime"
	defaultGiveUp = 10 * time.Second
	defaultFeeds  = 2

	// A connection that is silent for longer is broken: within 10 s that is noticed.
	silence = 5 * time.Second
	// buffer is that of a connection, each way. By default it would be half a MiB.
	buffer = 64 << 10
)

func (o Options) withDefaults() Options {
	if o.Prefix == "" {
		o.Prefix = defaultPrefix
	}
	if o.GiveUp <= 0 {
		o.GiveUp = defaultGiveUp
	}
	if o.feeds <= 0 {
		o.feeds = defaultFeeds
	}
	if o.pace <= 0 {
		o.pace = beatEvery
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return o
}

// client is what the client library is told.
func (o Options) client(address string) (rueidis.ClientOption, error) {
	if strings.Trim(o.Prefix, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/") != "" {
		return rueidis.ClientOption{}, fmt.Errorf("prefix %q: want letters, digits, and any of \"-_.:/\"", o.Prefix)
	}
	if o.WaitReplicas < 0 {
		return rueidis.ClientOption{}, fmt.Errorf("wait for %d replicas: want 0 or more", o.WaitReplicas)
	}
	u, err := url.Parse(address)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // without the URL, which may have a password
		}
		return rueidis.ClientOption{}, fmt.Errorf("URL: %w: want redis://host:port", err)
	}
	switch u.Scheme {
	case "redis", "rediss", "valkey", "valkeys", "unix":
	default:
		return rueidis.ClientOption{}, fmt.Errorf("URL with scheme %q: want redis, rediss, valkey, valkeys or unix", u.Scheme)
	}
	option, err := rueidis.ParseURL(address)
	if err != nil {
		return option, fmt.Errorf("URL %s: %w", u.Redacted(), err)
	}
	if option.TLSConfig != nil && o.TLS != nil {
		name := option.TLSConfig.ServerName
		option.TLSConfig = o.TLS.Clone()
		if option.TLSConfig.ServerName == "" {
			option.TLSConfig.ServerName = name
		}
	}
	if u.Scheme == "unix" {
		option.ForceSingleClient = true
	}
	option.Sentinel.Username, option.Sentinel.Password = o.SentinelUsername, o.SentinelPassword
	option.Sentinel.TLSConfig = option.TLSConfig
	option.Sentinel.TopologyRefreshInterval = silence // an event of theirs may be missed
	option.ClientName = "chime"
	if u.Scheme != "unix" {
		option.DialCtxFn = dial
	}
	option.DisableRetry = true // what may be done twice is decided here
	option.DisableCache = true
	option.AlwaysPipelining = true // or the end of one call's context would break a connection
	option.ConnWriteTimeout = silence
	option.ReadBufferEachConn, option.WriteBufferEachConn = buffer, buffer
	return option, nil
}
