package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/internal/quiet"
)

const (
	headerTime = 5 * time.Second   // for a request line and its headers to arrive
	readTime   = 10 * time.Second  // for a whole request, with its body
	idleTime   = 120 * time.Second // of a kept connection between two requests
	maxHeaders = 32 << 10          // bytes of a request line and its headers

	// What is to end has 10 s before it is killed, where nobody says otherwise
	// (docker stop): so long may clients be sent away one by one, then all requests
	// take, and then what is left.
	drainTime = 5 * time.Second
	stopTime  = 8 * time.Second
	lastTime  = time.Second
)

// serving is what a serve is asked for.
type serving struct {
	addr, db string
	origins  []string
	node     string // where other nodes reach this one; "": as addr says
	metrics  string // where numbers are served; "": nowhere
	engine   engine
}

func serveCommand() *cobra.Command { return serveCommandOf(new(serving)) }

// serveCommandOf puts what it is given into s.
func serveCommandOf(s *serving) *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "Serve a chat that shows what chime does",
		Long: `Serve a chat. Each room is a page, /rooms/{id}, and a topic, chat_room:{id}.

Messages are kept in one file, and are there after a restart with the same file;
chime history shows what is in it. Beside it, in FILE.key, is the key of those who
have said their name: keep it to yourself. With --db= nothing is kept on disk.

With --broker several of these processes are one chat, on one machine or on many:
over Redis or NATS, or with a NATS server in each of them (embedded-nats). Three that
name each other by --cluster and --peers go on when one is gone. All of them need the
same --secret-file. A client may come to any of them with any request.

Behind a proxy that changes the Host header, give the address that people see:
--origin https://chat.example.com. A server on a loopback address answers only
requests for localhost and loopback addresses: if the proxy calls it something
else, give that as another --origin.`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := s.check(c.Flags().Changed); err != nil {
				return err
			}
			return serve(c.Context(), *s, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	c.Flags().StringVar(&s.addr, "addr", "127.0.0.1:4000", "host:port to listen on")
	c.Flags().StringVar(&s.db, "db", "chime.db", "file that keeps the messages, created if missing; empty: memory only")
	c.Flags().StringArrayVar(&s.origins, "origin", nil, "another origin whose pages may connect, as in https://chat.example.com; repeatable")
	c.Flags().StringVar(&s.metrics, "metrics", "", "`host:port` of /metrics, for Prometheus, apart from the chat; empty: none")
	s.engine.addFlags(c)
	c.Flags().StringVar(&s.node, "node", "", "with a broker, the `URL` by which other nodes reach this one (default http:// and --addr, if that has a host)")
	return c
}

// check refuses flags that make no sense together. Given says which were.
func (s *serving) check(given func(flag string) bool) error {
	if err := s.engine.check(given); err != nil {
		return err
	}
	if given("broker") && given("db") {
		return errors.New("--db: with --broker, which keeps the messages: want one of the two")
	}
	if given("node") {
		return checkNode(s.node)
	}
	return nil
}

// serve runs the chat until ctx is done, and then until its clients are drained.
// What a person wants to know first goes to out, what happens goes to logs.
func serve(ctx context.Context, s serving, out, logs io.Writer) error {
	for _, o := range s.origins {
		if err := checkOrigin(o); err != nil {
			return err
		}
	}
	if s.addr == "" { // to Go, any port on all addresses
		return errors.New(`--addr "": ` + wantAddr)
	}
	listener, err := net.Listen("tcp", s.addr)
	if err != nil {
		return unheard("--addr", s.addr, err)
	}
	meter, err := openMeter(s.metrics)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	err = s.serveAt(ctx, listener, meter, out, logs)
	return errors.Join(err, meter.Close())
}

// serveAt is serve where it listens already.
func (s *serving) serveAt(ctx context.Context, listener net.Listener, meter *meter, out, logs io.Writer) error {
	log := slog.New(quiet.New(slog.NewTextHandler(logs, nil))) // joins of a crowd must not fill it
	kept, listener, err := s.keep(ctx, listener, out, log)
	if err != nil {
		if ctx.Err() == nil {
			return err
		}
		log.Info("stopped", "error", err) // by who knows why
		return nil
	}
	srv, live, err := s.server(kept, listener, log)
	if err != nil {
		return errors.Join(err, listener.Close(), kept.Close())
	}
	greet(out, listener.Addr(), kept.where, meter)
	meter.serve(live, log)
	s.announce(kept, listener, log)

	served := make(chan error, 1)
	go func() { // ends with the Shutdown below, or by itself
		served <- srv.Serve(listener)
		close(served)
	}()
	select {
	case err = <-served:
		log.Error("stopping", "error", err)
	case <-ctx.Done():
		log.Info("stopping")
	}
	err = errors.Join(err, stop(srv, live, kept.broker != nil, log), meter.Close(), kept.Close())
	for range served { // until its goroutine has ended
	}
	log.Info("stopped")
	return err
}

// server returns what serves the chat at a listener, and its Router.
func (s *serving) server(kept *keeping, at net.Listener, log *slog.Logger) (*http.Server, *chime.Router, error) {
	options := []chime.Option{kept.option()}
	if kept.broker != nil {
		s.node = cmp.Or(s.node, nodeURL(s.addr, at.Addr()))
		if s.node != "" {
			options = append(options, chime.WithNode(nodeName(at.Addr()), s.node))
		}
	}
	handler, live, err := site(kept.door, s.origins, log, options...)
	if err != nil {
		return nil, nil, err
	}
	if host, err := netip.ParseAddrPort(at.Addr().String()); err == nil && host.Addr().IsLoopback() {
		handler = ownHost(s.origins, log, handler)
	}
	srv := newServer(handler, log)
	live.Attach(srv)
	return srv, live, nil
}

// announce says in the log what is served.
func (s *serving) announce(kept *keeping, at net.Listener, log *slog.Logger) {
	if kept.broker == nil {
		log.Info("listening", "addr", at.Addr().String(), "db", kept.name, "origins", s.origins)
		return
	}
	log.Info("listening", "addr", at.Addr().String(), "broker", kept.name, "survives", kept.broker.Caps().Survives.String(), "node", s.node, "origins", s.origins)
	if s.node == "" {
		log.Warn("other nodes can't reach this one: a client that comes to another begins anew there", "remedy", "--node")
	}
}

// keep opens the file, or the broker; after an error nobody listens. As long as a node waits
// for its broker nobody does either: else requests would wait with it, which a load balancer
// could send to another.
func (s *serving) keep(ctx context.Context, listener net.Listener, out io.Writer, log *slog.Logger) (*keeping, net.Listener, error) {
	if s.engine.broker == "" {
		kept, err := openHistory(s.db, log)
		if err != nil {
			err = errors.Join(err, listener.Close())
		}
		return kept, listener, err
	}
	if err := listener.Close(); err != nil { // that it can be had is known
		return nil, nil, err
	}
	kept, err := s.engine.open(ctx, out, log)
	if err != nil {
		return nil, nil, err
	}
	if listener, err = net.Listen("tcp", s.addr); err != nil {
		return nil, nil, errors.Join(unheard("--addr", s.addr, err), kept.Close())
	}
	return kept, listener, nil
}

// nodeName tells the nodes of one machine apart.
func nodeName(at net.Addr) string {
	host, _ := os.Hostname() // "" is a name as well
	_, port, _ := net.SplitHostPort(at.String())
	return host + ":" + port
}

// stop sends all clients away and ends srv. That somebody does not read or write in
// time is no error of ours. Where there are other nodes srv listens until the clients are
// sent away: what they post, and what they poll for, comes by the others.
func stop(srv *http.Server, live *chime.Router, others bool, log *slog.Logger) error {
	soon := time.Now().Add(stopTime)
	last := soon.Add(lastTime)
	if others {
		_ = bounded(soon, live.Shutdown) // what is wrong is said below
		soon = soon.Add(lastTime / 2)
	}
	err := bounded(soon, srv.Shutdown)
	if errors.Is(err, context.DeadlineExceeded) {
		log.Warn("requests cut: they take too long")
		err = srv.Close()
	}
	return errors.Join(err, bounded(last, live.Shutdown)) // done, unless handlers still run: then it names them
}

const wantAddr = "want host:port, as in 127.0.0.1:4000"

// unheard says why the address of a flag can't be listened on, and what to do.
func unheard(flag, addr string, err error) error {
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		err = op.Err // the address is said once
	}
	remedy := "want an address of this machine, as in 127.0.0.1:4000"
	var form *net.AddrError
	switch {
	case errors.As(err, &form):
		err, remedy = errors.New(form.Err), wantAddr
	case errors.Is(err, syscall.EADDRINUSE):
		remedy = "want a port that no other program listens on"
	case errors.Is(err, fs.ErrPermission):
		remedy = "want a port of 1024 or more"
	}
	return fmt.Errorf("%s %q: %w: %s", flag, addr, err, remedy)
}

// bounded says until when one step of the end may take.
func bounded(end time.Time, stop func(context.Context) error) error {
	ctx, cancel := context.WithDeadline(context.Background(), end)
	defer cancel()
	return stop(ctx)
}

// greet says where the chat is, where it is kept, and where its numbers are.
func greet(out io.Writer, at net.Addr, where string, numbers *meter) {
	bound, _ := netip.ParseAddrPort(at.String()) // a TCP listener's own address is one
	open := url.URL{Scheme: "http", Host: bound.String()}
	if bound.Addr().IsUnspecified() {
		open.Host = fmt.Sprintf("localhost:%d", bound.Port())
	}
	fmt.Fprintf(out, "A chat is open at %s\n", &open)
	fmt.Fprintf(out, "Each room keeps its newest %s messages for %d hours, %s.\n", thousands(roomKeep), int(roomAge.Hours()), where)
	if !bound.Addr().IsLoopback() {
		fmt.Fprintln(out, "Anyone who can reach this address can read and write: there are no accounts.")
	}
	if numbers != nil {
		fmt.Fprintf(out, "Numbers for Prometheus are at http://%s/metrics\n", numbers.listener.Addr())
	}
	fmt.Fprintln(out, "Press Ctrl-C to stop it.")
}

// thousands writes n, under a million, the way people read it.
func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}

// checkOrigin refuses what no browser would send as an Origin.
func checkOrigin(o string) error {
	u, err := url.Parse(o)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil ||
		strings.Contains(u.Host, "*") || u.Path != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return fmt.Errorf("--origin %q: want http or https, a host and perhaps a port, as in https://chat.example.com", o)
	}
	return nil
}

// newServer serves requests within times, which are for requests alone. A WebSocket and a
// stream outlive them: chime takes the deadlines off a connection that it takes over, and
// the streams of HTTP/2 and of wrapped writers set their own.
func newServer(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       readTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeaders,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}
