// Package embedded runs a NATS server with JetStream in this process, for an application that
// is to run on several machines and has no servers of its own. Three processes that name each
// other are a cluster, which goes on when one of them is gone:
//
//	s, err := embedded.Start(embedded.Options{Dir: "data", Name: "one", Cluster: "10.0.0.1:6222",
//		Peers: []string{"10.0.0.2:6222", "10.0.0.3:6222"}, Secret: secret})
//	b, err := nats.Open(ctx, nats.Options{Server: s, Replicas: 3})
//
// It promises no more than nats-server does. Where servers run already, package nats is
// enough: only who imports this package links a server.
package embedded

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Options say how a server runs.
type Options struct {
	// Dir has what is stored. It is made if there is none, and must be given. Two servers
	// never share one.
	Dir string
	// Name is that of the server, and the same whenever it runs with this Dir: the others
	// know by it what it has. The default is the host's.
	Name string
	// Listen is where clients of other processes connect, "host:port". Without it there are
	// none but those in this process.
	Listen string
	// Cluster is where the other servers connect, "host:port". Without it this one is alone.
	Cluster string
	// Peers are the Cluster of the others. Those that can't be reached are tried again.
	// How many there are says how many make a majority, so all must be named from the start.
	Peers []string
	// Secret is what clients and other servers must know: clients as the password of a user
	// named chime. It must be given where another
	// machine can connect. It is not encrypted on its way: the network must be your own.
	Secret string
	// SyncAlways has what is stored written to the disk before it is acknowledged: say so in
	// nats.Options too. Without it that is done every 2 min.
	SyncAlways bool
	// MaxPayload is the most bytes of a message, 64 MiB at most; the default is 1 MiB.
	MaxPayload int
	// Log is told what the server warns of. The default is slog.Default().
	Log *slog.Logger
}

// Server is one that runs. It can be given to nats.Options.
type Server struct {
	server *server.Server
	listen bool // clients of other processes can connect
	peers  *peers
}

const (
	user         = "chime"
	cluster      = "chime"
	startTimeout = 10 * time.Second
	syncEvery    = 2 * time.Minute
	readyPause   = 20 * time.Millisecond
)

// Start begins a server, and returns when clients can connect. Others of its cluster need
// not run yet; see Ready.
func Start(o Options) (*Server, error) {
	s, err := start(o)
	if err != nil {
		return nil, fmt.Errorf("start a NATS server: %w", err)
	}
	return s, nil
}

func start(o Options) (*Server, error) {
	opts, err := o.server()
	if err != nil {
		return nil, err
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, err
	}
	log := o.Log
	if log == nil {
		log = slog.Default()
	}
	l := logger{log, &peers{log: log, began: time.Now()}}
	s.SetLoggerV2(l, false, false, false)
	s.Start()
	if !s.ReadyForConnections(startTimeout) {
		s.Shutdown()
		s.WaitForShutdown()
		l.peers.close()
		return nil, fmt.Errorf("it takes no connections after %v: its log says why", startTimeout)
	}
	return &Server{s, o.Listen != "", l.peers}, nil
}

// server is what nats-server calls that.
func (o Options) server() (*server.Options, error) {
	if o.Dir == "" {
		return nil, errors.New("no directory: want Dir")
	}
	if o.Name == "" {
		name, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("no name: %w", err)
		}
		o.Name = name
	}
	for _, address := range []string{o.Listen, o.Cluster} {
		if address == "" {
			continue
		}
		if _, _, err := hostPort(address); err != nil {
			return nil, err
		}
		if o.Secret == "" && !loopback(address) {
			return nil, fmt.Errorf("%s: other machines can connect: want a Secret", address)
		}
	}
	opts := &server.Options{
		ServerName: o.Name, StoreDir: o.Dir, JetStream: true, NoSigs: true,
		SyncAlways: o.SyncAlways, SyncInterval: syncEvery, MaxPayload: int32(min(max(o.MaxPayload, 0), 64<<20)), //nolint:gosec // bounded
	}
	if err := o.admit(opts); err != nil {
		return nil, err
	}
	if err := o.join(opts); err != nil {
		return nil, err
	}
	return opts, nil
}

// admit has clients of other processes connect, if they can.
func (o Options) admit(opts *server.Options) (err error) {
	switch {
	case o.Listen != "":
		if opts.Host, opts.Port, err = hostPort(o.Listen); err != nil {
			return err
		}
		if o.Secret != "" {
			opts.CustomClientAuthentication = door(o.Secret)
		}
	case o.Cluster != "":
		// A server of a cluster waits for its clients' port before it meets others. Nobody knows
		// the secret of this one.
		opts.Host, opts.Port = "127.0.0.1", server.RANDOM_PORT
		opts.CustomClientAuthentication = door(rand.Text())
	default:
		opts.DontListen = true
	}
	return nil
}

// join has the server be one of a cluster, if it is.
func (o Options) join(opts *server.Options) error {
	if o.Cluster == "" {
		if len(o.Peers) > 0 {
			return fmt.Errorf("peers %q: want Cluster, where they connect to", o.Peers)
		}
		return nil
	}
	host, port, err := hostPort(o.Cluster)
	if err != nil {
		return err
	}
	opts.Cluster = server.ClusterOpts{Name: cluster, Host: host, Port: port, NoAdvertise: o.Listen == ""}
	if o.Secret != "" {
		opts.Cluster.Username, opts.Cluster.Password = user, o.Secret
	}
	opts.ConnectErrorReports, opts.ReconnectErrorReports = 1, 1 // see peers
	for _, peer := range o.Peers {
		if _, _, err := hostPort(peer); err != nil {
			return err
		}
		route := &url.URL{Scheme: "nats-route", Host: peer}
		if o.Secret != "" {
			route.User = url.UserPassword(user, o.Secret)
		}
		opts.Routes = append(opts.Routes, route)
	}
	return nil
}

func hostPort(address string) (string, int, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("address %q: want host:port: %w", address, err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("address %q: want a port from 0 to 65535", address)
	}
	if n == 0 {
		return host, server.RANDOM_PORT, nil
	}
	return host, int(n), nil
}

// loopback reports whether only this machine can connect.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// InProcessConn connects a client in this process.
func (s *Server) InProcessConn() (net.Conn, error) { return s.server.InProcessConn() }

// URL is where clients of other processes connect, without the secret; "" if they can't.
func (s *Server) URL() string {
	if !s.listen {
		return ""
	}
	return s.server.ClientURL()
}

// Cluster is where other servers connect; "" if they can't.
func (s *Server) Cluster() string {
	if a := s.server.ClusterAddr(); a != nil {
		return a.String()
	}
	return ""
}

// Ready waits until the cluster can store: a majority of its servers has met and agreed on a
// leader.
func (s *Server) Ready(ctx context.Context) error {
	tick := time.NewTicker(readyPause)
	defer tick.Stop()
	for {
		switch {
		case !s.server.JetStreamIsClustered():
			return nil
		case s.server.JetStreamIsCurrent():
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the servers of the cluster have not met: %w", context.Cause(ctx))
		}
	}
}

// Close ends the server, and returns when it has. Messages that it leads are led by others
// then.
func (s *Server) Close() error {
	s.server.Shutdown()
	s.server.WaitForShutdown()
	s.peers.close()
	return nil
}

// door lets in who knows the secret, with the user name chime, and whoever is in this process.
type door string

// Check implements server.Authentication.
func (d door) Check(c server.ClientAuthentication) bool {
	if a := c.RemoteAddress(); a != nil && a.Network() == "pipe" {
		return true
	}
	known := c.GetOpts()
	return known.Username == user && subtle.ConstantTimeCompare([]byte(known.Password), []byte(d)) == 1
}

// logger passes on what the server says.
type logger struct {
	log   *slog.Logger
	peers *peers
}

func (l logger) line(level slog.Level, format string, v []any) {
	l.log.Log(context.Background(), level, "broker/nats/embedded: nats-server", "says", fmt.Sprintf(format, v...))
}

func (l logger) Noticef(format string, v ...any) { l.line(slog.LevelDebug, format, v) }
func (l logger) Warnf(format string, v ...any) {
	level, says := slog.LevelWarn, fmt.Sprintf(format, v...)
	if slices.ContainsFunc(usual, func(begin string) bool { return strings.HasPrefix(says, begin) }) {
		level = slog.LevelDebug
	}
	l.line(level, format, v)
}
func (l logger) Fatalf(format string, v ...any) { l.line(slog.LevelError, format, v) }
func (l logger) Errorf(format string, v ...any) {
	level := slog.LevelError
	if err, ok := attempt(format, v); ok { // each second, from the first on: it is no error while nodes begin
		level = slog.LevelDebug
		l.peers.failed(err)
	}
	if says := fmt.Sprintf(format, v...); refusal(says) { // each second as well
		level = slog.LevelDebug
		l.peers.refuse(says)
	}
	l.line(level, format, v)
}
func (l logger) Debugf(format string, v ...any) { l.line(slog.LevelDebug, format, v) }
func (l logger) Tracef(format string, v ...any) { l.line(slog.LevelDebug, format, v) }

// usual is how warnings begin that each start and each end has: Ready tells of the first two.
var usual = []string{"Waiting for routing to be established", "JetStream has not established contact with a meta leader", "Metalayer blocking snapshot"}

// attempt returns why a peer could not be reached, if that is what the server says.
func attempt(format string, v []any) (error, bool) {
	if !strings.HasPrefix(format, "Error trying to connect to route") || len(v) == 0 {
		return nil, false
	}
	err, ok := v[len(v)-1].(error)
	return err, ok
}

// refusal reports whether the server says that another one has refused it, or it another one,
// whose connections are named so. A client that is refused is another matter.
func refusal(says string) bool {
	return strings.Contains(says, "Route Error 'Authorization Violation'") ||
		strings.Contains(says, " - rid:") && strings.Contains(says, server.ErrAuthentication.Error())
}
