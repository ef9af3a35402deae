package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore/boltfile"
)

// withBroker opens the broker of a command, which is no node of the application, and has use
// do something with it.
func (e *engine) withBroker(c *cobra.Command, use func(b broker.Broker, out *bufio.Writer) error) error {
	log := slog.New(slog.NewTextHandler(c.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	kept, err := e.open(c.Context(), c.ErrOrStderr(), log)
	if err != nil {
		return err
	}
	kept.broker.Start(deaf{})
	out := bufio.NewWriter(c.OutOrStdout())
	return errors.Join(use(kept.broker, out), out.Flush(), kept.Close())
}

// deaf is told of nothing that it needs.
type deaf struct{}

func (deaf) Published(broker.Publication)  {}
func (deaf) Erased(string, store.Position) {}
func (deaf) Lost(string)                   {}

// inFileOrBroker has a command take names, and before them FILE unless it is given a broker.
func (e *engine) inFileOrBroker(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := e.check(c.Flags().Changed); err != nil {
			return err
		}
		if e.broker != "" {
			return exactly(names...)(c, args)
		}
		return exactly(append([]string{"FILE"}, names...)...)(c, args)
	}
}

// transfer publishes lines, as export prints them, in a broker.
type transfer struct {
	broker  broker.Broker
	more    bool              // topics may have messages already
	last    map[string]uint64 // offset of the last message of each topic
	done    int
	aged    int // not published: they have aged
	already int // not published: their key is there
	taken   int // not published: they say that another was taken back
}

// run returns when all lines are published, or with the first that can't be.
func (t *transfer) run(ctx context.Context, lines io.Reader) error {
	t.last = map[string]uint64{}
	d := json.NewDecoder(lines)
	d.DisallowUnknownFields()
	for n := 1; ; n++ {
		var l boltfile.Line
		err := d.Decode(&l)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = t.publish(ctx, &l)
		}
		if err != nil {
			return fmt.Errorf("message %d: %w; imported until then: %s", n, err, counted(t.done, "message"))
		}
	}
}

// takesBack are the events that name an offset, which is that of another message in the
// broker. What they took back is in no export.
var takesBack = []string{"message_redacted", "history_forgotten"}

func (t *transfer) publish(ctx context.Context, l *boltfile.Line) error {
	m, keep, err := l.Message()
	if err != nil {
		return err
	}
	last, known := t.last[l.Topic]
	if !known {
		page, err := t.broker.History().Read(ctx, l.Topic, store.Range{Newest: true, Limit: 1})
		if err != nil {
			return err
		}
		if len(page.Messages) > 0 && !t.more {
			return fmt.Errorf("topic %q has messages already: want --append, and they come behind those", l.Topic)
		}
		last = page.Top
	}
	t.last[l.Topic] = last
	if slices.Contains(takesBack, l.Event) {
		t.taken++
		return nil
	}
	if keep.Age > 0 && time.Since(m.At) >= keep.Age {
		t.aged++
		return nil
	}
	at, err := t.broker.Publish(ctx, broker.Publication{Message: m, Topic: l.Topic}, &keep)
	if err != nil {
		return err
	}
	if at.Offset <= last {
		t.already++
		return nil
	}
	t.last[l.Topic] = at.Offset
	t.done++
	return nil
}

// String says what was done.
func (t *transfer) String() string {
	s := "imported " + counted(t.done, "message")
	if t.aged > 0 {
		s += fmt.Sprintf("; %d had aged", t.aged)
	}
	if t.already > 0 {
		s += fmt.Sprintf("; %d were there, by their keys", t.already)
	}
	if t.taken > 0 {
		s += fmt.Sprintf("; %d said that another was taken back", t.taken)
	}
	return s
}
