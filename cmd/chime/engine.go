package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// engine is what joins this node with others, as the flags of a command say. Without a
// broker there is none.
type engine struct {
	broker     string // its URL, which may have a password
	prefix     string
	replicas   int
	waits      int  // for how many replicas of Redis a message waits
	sync       bool // NATS writes to the disk before it acknowledges
	dir        string
	cluster    string
	peers      []string
	secretFile string
}

// embeddedNATS is the broker that needs no engine of its own.
const embeddedNATS = "embedded-nats"

// engineKind is what a broker is made by.
type engineKind int

const (
	noEngine engineKind = iota
	redisEngine
	natsEngine
	embeddedEngine
)

const wantBroker = "want redis://host:6379, rediss://…, nats://host:4222, tls://… or " + embeddedNATS

// addFlags adds the flags of an engine to a command.
func (e *engine) addFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&e.broker, "broker", "", "what joins several nodes, and keeps the messages: the `URL` of Redis or NATS, or "+embeddedNATS)
	f.StringVar(&e.prefix, "prefix", "chime", "begins all names in the broker: two applications need two")
	f.IntVar(&e.replicas, "replicas", 0, "with nats://, how many servers keep each message: 1, 3 or 5 (default 1)")
	f.IntVar(&e.waits, "wait-replicas", 0, "with redis://, how many replicas must have a message before it counts as sent")
	f.BoolVar(&e.sync, "sync-always", false, "with "+embeddedNATS+", write each message to the disk before it counts as sent; with nats://, that the servers do")
	f.StringVar(&e.dir, "dir", "chime-nats", "with "+embeddedNATS+", the directory of this node")
	f.StringVar(&e.cluster, "cluster", "", "with "+embeddedNATS+", `host:port` where the other nodes connect to this one")
	f.StringSliceVar(&e.peers, "peers", nil, "with "+embeddedNATS+", the `host:port,…` that the others have as --cluster")
	f.StringVar(&e.secretFile, "secret-file", "chime.secret", "what all nodes know and nobody else, created if missing")
}

// kind is what the scheme of the broker says.
func (e *engine) kind() (engineKind, error) {
	if e.broker == "" {
		return noEngine, nil
	}
	if e.broker == embeddedNATS {
		return embeddedEngine, nil
	}
	scheme, _, ok := strings.Cut(e.broker, "://")
	switch {
	case !ok:
		return 0, errors.New("--broker: it is no URL: " + wantBroker) // it may have a password, wherever that stands
	case slices.Contains([]string{"redis", "rediss", "valkey", "valkeys", "unix"}, scheme):
		return redisEngine, nil
	case scheme == "nats", scheme == "tls":
		return natsEngine, nil
	}
	return 0, fmt.Errorf("--broker: scheme %q: "+wantBroker, shortName(scheme))
}

// check refuses flags that make no sense together. Given says which were.
func (e *engine) check(given func(flag string) bool) error {
	kind, err := e.kind()
	if err != nil {
		return err
	}
	if given("broker") && kind == noEngine {
		return errors.New(`--broker "": ` + wantBroker)
	}
	for _, f := range []struct {
		name string
		of   []engineKind
		want string
	}{
		{"prefix", []engineKind{redisEngine, natsEngine, embeddedEngine}, "a broker"},
		{"secret-file", []engineKind{redisEngine, natsEngine, embeddedEngine}, "a broker"},
		{"node", []engineKind{redisEngine, natsEngine, embeddedEngine}, "a broker"},
		{"replicas", []engineKind{natsEngine}, "--broker nats://…"},
		{"wait-replicas", []engineKind{redisEngine}, "--broker redis://…"},
		{"sync-always", []engineKind{natsEngine, embeddedEngine}, "--broker nats://… or " + embeddedNATS},
		{"dir", []engineKind{embeddedEngine}, "--broker " + embeddedNATS},
		{"cluster", []engineKind{embeddedEngine}, "--broker " + embeddedNATS},
		{"peers", []engineKind{embeddedEngine}, "--broker " + embeddedNATS},
	} {
		if given(f.name) && !slices.Contains(f.of, kind) {
			return fmt.Errorf("--%s: it says nothing here: want it with %s alone", f.name, f.want)
		}
	}
	if given("prefix") && e.prefix == "" {
		return errors.New(`--prefix "": want what begins all names in the broker, as in --prefix chime`)
	}
	switch kind {
	case redisEngine, natsEngine:
		if _, err := e.hosts(kind); err != nil {
			return err
		}
		if e.replicas != 0 && e.replicas != 1 && e.replicas != 3 && e.replicas != 5 {
			return fmt.Errorf("--replicas %d: want 1, 3 or 5", e.replicas)
		}
		if e.waits < 0 {
			return fmt.Errorf("--wait-replicas %d: want 0 or more", e.waits)
		}
	case embeddedEngine:
		return e.checkEmbedded()
	}
	return nil
}

func (e *engine) checkEmbedded() error {
	switch {
	case e.dir == "":
		return errors.New(`--dir "": want a directory of this node alone`)
	case e.cluster == "" && len(e.peers) > 0:
		return errors.New("--peers: without --cluster: want where the others connect to this node, as in --cluster 10.0.0.1:6222")
	case e.cluster == "":
		return nil
	}
	e.peers = slices.DeleteFunc(slices.Clone(e.peers), func(p string) bool { return p == e.cluster }) // one list will do for all
	if len(e.peers) == 0 {
		return errors.New("--cluster: without --peers: want those of the other nodes, as in --peers 10.0.0.2:6222,10.0.0.3:6222")
	}
	for _, at := range append([]string{e.cluster}, e.peers...) {
		flag := "--peers"
		if at == e.cluster {
			flag = "--cluster"
		}
		if host, port, err := net.SplitHostPort(at); err != nil || host == "" || port == "" || port == "0" {
			return fmt.Errorf("%s %q: want host:port, as in 10.0.0.1:6222", flag, at)
		}
	}
	return nil
}

// hosts returns where the engine is, without what is secret in its URL.
func (e *engine) hosts(kind engineKind) (string, error) {
	list := []string{e.broker}
	if kind == natsEngine {
		list = strings.Split(e.broker, ",")
	}
	for i, one := range list {
		one = strings.TrimSpace(one)
		if !strings.Contains(one, "://") {
			one = "nats://" + one
		}
		u, err := url.Parse(one)
		if err != nil {
			if e, ok := errors.AsType[*url.Error](err); ok && !strings.ContainsAny(one, "@") {
				return "", fmt.Errorf("--broker: %w: "+wantBroker, e.Err)
			}
			return "", errors.New("--broker: it is no URL: " + wantBroker + "; in a password, what is no letter or digit is written as %23")
		}
		if u.Host == "" && u.Scheme != "unix" {
			return "", errors.New("--broker: it names no host: " + wantBroker)
		}
		list[i] = cmp.Or(u.Host, u.Path)
	}
	return strings.Join(list, ", "), nil
}

// checkNode refuses what other nodes could not reach this one by.
func checkNode(at string) error {
	u, err := url.Parse(at)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Path != "" && u.Path != "/" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("--node %q: want http or https, a host and a port, as in http://10.0.0.7:4000", at)
	}
	return nil
}

// nodeURL is where the others reach this node, if it listens on addr and nobody says; "" if
// they can't tell.
func nodeURL(addr string, bound net.Addr) string {
	host, _, err := net.SplitHostPort(addr)
	_, port, portErr := net.SplitHostPort(bound.String())
	if ip := net.ParseIP(host); err != nil || portErr != nil || host == "" || ip != nil && ip.IsUnspecified() {
		return ""
	}
	u := url.URL{Scheme: "http", Host: net.JoinHostPort(host, port)}
	return u.String()
}
