package main

import (
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
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/internal/quiet"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore"
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

func serveCommand() *cobra.Command {
	var addr, db string
	var origins []string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Serve a chat that shows what chime does",
		Long: `Serve a chat. Each room is a page, /rooms/{id}, and a topic, chat_room:{id}.

Messages are kept in one file, and are there after a restart with the same file;
chime history shows what is in it. Beside it, in FILE.key, is the key of those who
have said their name: keep it to yourself. With --db= nothing is kept on disk.

Behind a proxy that changes the Host header, give the address that people see:
--origin https://chat.example.com. A server on a loopback address answers only
requests for localhost and loopback addresses: if the proxy calls it something
else, give that as another --origin.`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			return serve(c.Context(), addr, db, origins, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	c.Flags().StringVar(&addr, "addr", "127.0.0.1:4000", "host:port to listen on")
	c.Flags().StringVar(&db, "db", "chime.db", "file that keeps the messages, created if missing; empty: memory only")
	c.Flags().StringArrayVar(&origins, "origin", nil, "another origin whose pages may connect, as in https://chat.example.com; repeatable")
	return c
}

// serve runs the chat until ctx is done, and then until its clients are drained.
// What a person wants to know first goes to out, what happens goes to logs.
func serve(ctx context.Context, addr, db string, origins []string, out, logs io.Writer) error {
	for _, o := range origins {
		if err := checkOrigin(o); err != nil {
			return err
		}
	}
	if addr == "" { // to Go, any port on all addresses
		return errors.New(`--addr "": ` + wantAddr)
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return unheard(addr, err)
	}
	log := slog.New(quiet.New(slog.NewTextHandler(logs, nil))) // joins of a crowd must not fill it
	kept, where, err := openHistory(db, log)
	if err != nil {
		return errors.Join(fmt.Errorf("--db: %w", err), listener.Close())
	}
	keyFile := ""
	if where != "" {
		keyFile = where + ".key"
	}
	door, err := newGuests(keyFile)
	if err != nil {
		return errors.Join(fmt.Errorf("--db: %w", err), listener.Close(), kept.Close())
	}
	handler, live, err := site(kept, door, origins, log)
	if err != nil {
		return errors.Join(err, listener.Close(), kept.Close())
	}
	if at, err := netip.ParseAddrPort(listener.Addr().String()); err == nil && at.Addr().IsLoopback() {
		handler = ownHost(origins, log, handler)
	}
	srv := newServer(handler, log)
	live.Attach(srv)
	greet(out, listener.Addr(), where)
	log.Info("listening", "addr", listener.Addr().String(), "db", where, "origins", origins)

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
	err = errors.Join(err, stop(srv, live, log), kept.Close())
	for range served { // until its goroutine has ended
	}
	log.Info("stopped")
	return err
}

// stop sends all clients away and ends srv. That somebody does not read or write in
// time is no error of ours.
func stop(srv *http.Server, live *chime.Router, log *slog.Logger) error {
	err := bounded(stopTime, srv.Shutdown)
	if errors.Is(err, context.DeadlineExceeded) {
		log.Warn("requests cut: they take too long")
		err = srv.Close()
	}
	return errors.Join(err, bounded(lastTime, live.Shutdown)) // done, unless handlers still run: then it names them
}

const wantAddr = "want host:port, as in 127.0.0.1:4000"

// unheard says why addr can't be listened on, and what to do.
func unheard(addr string, err error) error {
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
	return fmt.Errorf("--addr %q: %w: %s", addr, err, remedy)
}

// history is a store that this program ends.
type history interface {
	store.Store
	io.Closer
}

// openHistory opens the file db, or a store in memory if there is none. where is
// the file's whole path, or empty.
func openHistory(db string, log *slog.Logger) (kept history, where string, err error) {
	if db == "" {
		return store.NewMemory(), "", nil
	}
	if where, err = filepath.Abs(db); err != nil {
		return nil, "", err
	}
	file, err := boltstore.Open(where, boltstore.Options{Log: log})
	if err != nil {
		return nil, "", err
	}
	return file, where, nil
}

// bounded gives one step of the end its own time.
func bounded(d time.Duration, stop func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return stop(ctx)
}

// greet says where the chat is, and where it is kept: in the file db, or, if that
// is empty, in memory.
func greet(out io.Writer, at net.Addr, db string) {
	bound, _ := netip.ParseAddrPort(at.String()) // a TCP listener's own address is one
	open := url.URL{Scheme: "http", Host: bound.String()}
	if bound.Addr().IsUnspecified() {
		open.Host = fmt.Sprintf("localhost:%d", bound.Port())
	}
	fmt.Fprintf(out, "A chat is open at %s\n", &open)
	where := "in memory only, until this process ends"
	if db != "" {
		where = "in " + printable(db) + ", also after a restart"
	}
	fmt.Fprintf(out, "Each room keeps its newest %s messages for %d hours, %s.\n", thousands(roomKeep), int(roomAge.Hours()), where)
	if !bound.Addr().IsLoopback() {
		fmt.Fprintln(out, "Anyone who can reach this address can read and write: there are no accounts.")
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
