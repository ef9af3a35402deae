package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore"
	"github.com/go-chime/chime/store/boltstore/boltfile"
)

func historyRedactCommand() *cobra.Command {
	var event string
	c := &cobra.Command{
		Use:   "redact FILE TOPIC OFFSET",
		Short: "Take one message back",
		Long: `Remove one message, at the offset that show prints, and have the topic say so in the
same step, as Router.Redact does: clients that come back remove it, too. All others
stay, with their offsets.

What was removed can be found in the file until its space is used again: compact it
to leave nothing of it. A backup has it still.`,
		Example: `  chime history show chime.db chat_room:lobby
  chime history redact chime.db chat_room:lobby 17
  chime history compact chime.db`,
		Args: exactly("FILE", "TOPIC", "OFFSET"),
		RunE: func(c *cobra.Command, args []string) error {
			offset, err := strconv.ParseUint(args[2], 10, 64)
			if err != nil || offset == 0 || offset == store.All {
				return fmt.Errorf("OFFSET %q: want that of a message, as chime history show prints it", args[2])
			}
			if err := checkEvent(event); err != nil {
				return err
			}
			return redact(c.Context(), c.OutOrStdout(), args[0], args[1], offset, event)
		},
	}
	c.Flags().StringVar(&event, "event", "message_redacted", "the `event` that says so, where History.Redacted names another")
	return c
}

// checkEvent refuses what no channel could send.
func checkEvent(event string) error {
	control := func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }
	if event == "" || len(event) > 255 || !utf8.ValidString(event) || strings.ContainsFunc(event, control) ||
		strings.HasPrefix(event, "phx_") || event[0] == '@' {
		return fmt.Errorf("--event %q: want 1 to 255 bytes of text without control characters, and neither phx_ nor @ in front", event)
	}
	return nil
}

// redact does what a server would that has the file open.
func redact(ctx context.Context, out io.Writer, file, topic string, offset uint64, event string) error {
	keep, err := retentionOf(file, topic) // a store would make a file that is not there
	if err != nil {
		return err
	}
	kept, err := boltstore.Open(file, boltstore.Options{
		MaxBytes: boltstore.Unbounded, MaxTopics: boltstore.Unbounded, // the bounds are its server's: nothing else may go
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	said := store.Message{Event: event, Payload: fmt.Appendf(nil, `{"offset":%d}`, offset), Erases: offset}
	_, err = kept.Append(ctx, topic, said, keep, nil)
	if name := printable(file); errors.Is(err, store.ErrNotFound) {
		err = fmt.Errorf("%s: %q has no message at %d: want an offset that chime history show prints", name, topic, offset)
	} else if err == nil {
		_, err = fmt.Fprintf(out, "%s: %d of %s is redacted; chime history compact leaves nothing of it in the file\n", name, offset, printable(topic))
	}
	return errors.Join(err, kept.Close())
}

// retentionOf returns what holds for a topic that the file has.
func retentionOf(file, topic string) (keep store.Retention, err error) {
	r, err := boltfile.OpenReader(file)
	if err != nil {
		return keep, err
	}
	about, err := topicOf(r, file, topic)
	if err == nil {
		keep = about.Keep
	}
	return keep, errors.Join(err, r.Close())
}
