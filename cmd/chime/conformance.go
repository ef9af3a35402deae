package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/go-chime/chime/internal/conformance"
)

func conformanceCommand() *cobra.Command {
	var cfg conformance.Config
	c := &cobra.Command{
		Use:   "conformance URL",
		Short: "Check a server against docs/protocol.md",
		Long: `Check a server against docs/protocol.md, on a WebSocket and on a stream with
POSTs, also while connections are cut. URL is where its Router is mounted.

It needs a channel that lets anybody in, rebroadcasts an event and has a History
that keeps and replays at least 20 messages, as that of chime serve does. The
topics that it joins have random names. It prints a line for each check.

A server that asks who connects gets the bearer token that the environment
variable CHIME_TOKEN holds.`,
		Example: "  chime conformance http://127.0.0.1:4000/socket",
		Args:    exactly("URL"),
		RunE: func(c *cobra.Command, args []string) error {
			cfg.URL, cfg.Token = args[0], os.Getenv(tokenVariable)
			return conform(c.Context(), cfg, c.OutOrStdout())
		},
	}
	c.Flags().StringVar(&cfg.Topic, "topic", "chat_room:", "what the topics begin with; a random name follows")
	c.Flags().StringVar(&cfg.Event, "event", "message_new", "the event that the channel rebroadcasts")
	c.Flags().StringVar(&cfg.Payload, "payload", `{"name":"%s","message":"%s"}`, "its payload; %s becomes a text that must be in the broadcast")
	c.Flags().BoolVar(&cfg.Slow, "slow", false, "check what takes up to a minute too: heartbeats, silence, the grace period")
	c.Flags().IntVar(&cfg.Cuts, "cuts", 50, "messages that are sent while connections are cut")
	return c
}

// conform prints a line for each check. The error says that some failed.
func conform(ctx context.Context, cfg conformance.Config, out io.Writer) error {
	counts := map[string]int{}
	err := conformance.Run(ctx, cfg, func(r conformance.Result) {
		word, why := "ok", ""
		switch {
		case errors.Is(r.Err, conformance.ErrSkipped):
			word = "skip"
		case r.Err != nil:
			word, why = "FAIL", ": "+printable(r.Err.Error())
		}
		counts[word]++
		fmt.Fprintf(out, "%-4s  %s%s\n", word, r.Name, why)
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", counts["ok"], counts["FAIL"], counts["skip"])
	if n := counts["FAIL"]; n > 0 {
		return fmt.Errorf("conformance of %s: %d checks failed: none may", cfg.URL, n)
	}
	return nil
}
