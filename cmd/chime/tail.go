package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
)

func tailCommand() *cobra.Command {
	var mount string
	var asJSON bool
	c := &cobra.Command{
		Use:   "tail TOPIC",
		Short: "Print what happens in a topic",
		Long: `Print what happens in a topic, one line an event, until interrupted. It joins the
topic as any client does: where one sees who is present, it is seen.

A line is the time, the event and the payload. The time is the payload's "at"
where that is a time in Unix milliseconds, else the time of arrival. With --json
a line is the frame as it came. Control characters are escaped in both, so that
no message can control your terminal. A connection that ends, and its successor,
are reported on stderr; messages missed in between are printed then.

The environment variable CHIME_TOKEN, if set, is sent as the bearer token. There
is no flag for it: other users of the machine can read a program's arguments.`,
		Example: "  chime tail chat_room:lobby",
		Args:    exactly("TOPIC"),
		RunE: func(c *cobra.Command, args []string) error {
			return tail(c.Context(), mount, args[0], asJSON, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	c.Flags().StringVar(&mount, "url", "http://127.0.0.1:4000/socket", "where the router is mounted; its query, if any, is the join payload")
	c.Flags().BoolVar(&asJSON, "json", false, "print frames as JSON, one a line")
	return c
}

// tokenVariable holds the bearer token of tail.
const tokenVariable = "CHIME_TOKEN"

// tail prints the topic to out until ctx is done, which is no error.
func tail(ctx context.Context, mount, topic string, asJSON bool, out, notes io.Writer) error {
	stream, err := streamURL(mount, topic)
	if err != nil {
		return err
	}
	token := os.Getenv(tokenVariable)
	if strings.ContainsFunc(token, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		return errors.New(tokenVariable + ": the token has spaces or control characters: want it without")
	}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DisableCompression:    true, // a gzip reader would hold events back
		ForceAttemptHTTP2:     true,
		TLSHandshakeTimeout:   openTime,
		ResponseHeaderTimeout: openTime,
	}
	defer transport.CloseIdleConnections()

	line := textLine
	if asJSON {
		line = jsonLine
	}
	f := &follower{
		mount:     mount,
		topic:     topic,
		url:       stream,
		token:     token,
		transport: transport,
		firstWait: 500 * time.Millisecond,
		print: func(fr frame) error {
			_, err := io.WriteString(out, line(fr, time.Now())+"\n")
			return err
		},
		note: func(what string) { fmt.Fprintln(notes, "chime:", printable(what)) },
	}
	return f.follow(ctx)
}

// streamURL is where the topic is read, below the mount of a router.
func streamURL(mount, topic string) (string, error) {
	u, err := url.Parse(mount)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return "", fmt.Errorf("--url %q: want http or https, as in http://127.0.0.1:4000/socket", mount)
	}
	if topic == "" {
		return "", errors.New(`tail: TOPIC "": want a topic, as in chat_room:lobby`)
	}
	u = u.JoinPath("sse")
	query := u.Query()
	query.Set("join", topic)
	u.RawQuery = query.Encode()
	return u.String(), nil
}
