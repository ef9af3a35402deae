package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore/boltfile"
)

func historyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "history",
		Short: "Look into a history file, check it, make it smaller or take a message back",
		Long: `Look into the file in which chime serve, or your own server, keeps its history.

The file must not be in use: end its server first, or look into a backup. Control
characters are escaped in all output.`,
		Example: `  chime history topics chime.db
  chime history show chime.db chat_room:lobby --last 20
  chime history export chime.db > chime.jsonl`,
		Args: oneOf("topics", "show", "redact", "verify", "compact", "export", "import, and then the file"),
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	c.AddCommand(historyTopicsCommand(), historyShowCommand(), historyRedactCommand(), historyVerifyCommand(),
		historyCompactCommand(), historyExportCommand(), historyImportCommand())
	return c
}

func historyTopicsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "topics FILE",
		Short: "List the topics",
		Long: `List the topics of a file, one a line: how many messages are kept, the offset of
the last one, its time, and the topic. A topic without messages is remembered for
30 days.`,
		Args: exactly("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			return reading(args[0], c.OutOrStdout(), printTopics)
		},
	}
}

func historyShowCommand() *cobra.Command {
	var last string
	var asJSON bool
	var e engine
	c := &cobra.Command{
		Use:   "show FILE TOPIC",
		Short: "Print the messages of a topic",
		Long: `Print the newest messages of a topic, the oldest of them first, one a line: time,
offset, event and payload. With --json a line is what export writes.

With --broker the topic is one of a broker, and no FILE is given.`,
		Args: e.inFileOrBroker("TOPIC"),
		RunE: func(c *cobra.Command, args []string) error {
			newest, err := strconv.Atoi(last)
			if err != nil || newest < 0 {
				return fmt.Errorf("--last %q: want a number of messages, or 0 for all", last)
			}
			if e.broker != "" {
				return e.withBroker(c, func(b broker.Broker, out *bufio.Writer) error {
					return showBrokerTopic(c, b, out, args[0], newest, asJSON)
				})
			}
			return reading(args[0], c.OutOrStdout(), func(r *boltfile.Reader, out io.Writer) error {
				about, err := topicOf(r, args[0], args[1])
				if err != nil {
					return err
				}
				return showTopic(c, r, out, about, newest, asJSON)
			})
		},
	}
	c.Flags().StringVar(&last, "last", "50", "how many `messages`; 0: all") // no IntVar: what it says of a wrong one is strconv's
	c.Flags().BoolVar(&asJSON, "json", false, "print messages as JSON, one a line")
	e.addFlags(c)
	return c
}

func historyVerifyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "verify FILE",
		Short: "Read all of a file, and list its faults",
		Args:  exactly("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			r, err := boltfile.Verify(args[0])
			if err != nil {
				return err
			}
			waiting := ""
			if r.Waiting > 0 {
				waiting = "; " + counted(r.Waiting, "trimmed message") + " not deleted yet"
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s has no fault: %s, %s, %s%s\n", printable(args[0]),
				counted(r.Topics, "topic"), counted(r.Messages, "message"), counted(int(r.Bytes), "byte"), waiting)
			return err
		},
	}
}

func historyCompactCommand() *cobra.Command {
	var to string
	c := &cobra.Command{
		Use:   "compact FILE",
		Short: "Make a file as small as its messages allow",
		Long: `Write what a file keeps into a new one, without free pages, and put that in its
place. Nothing is lost: offsets and positions stay. What was deleted or redacted
can't be found in it any more. The disk needs room for both files.

With --to the copy is another file and a backup: it begins a new epoch, and clients
with a position from before are told that it is not recovered.`,
		Args: exactly("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			if c.Flags().Changed("to") && to == "" {
				return errors.New("--to \"\": want the path of a file that is not there yet")
			}
			before, _ := os.Stat(args[0]) // where it can't be looked at, Compact says why
			if err := boltfile.Compact(args[0], to); err != nil {
				return err
			}
			after, err := os.Stat(cmp.Or(to, args[0]))
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s: %s, before %s\n", printable(cmp.Or(to, args[0])),
				counted(int(after.Size()), "byte"), counted(int(before.Size()), "byte"))
			return err
		},
	}
	c.Flags().StringVar(&to, "to", "", "write the copy there, and leave the file as it is")
	return c
}

func historyExportCommand() *cobra.Command {
	var e engine
	c := &cobra.Command{
		Use:   "export FILE",
		Short: "Print all messages as JSON, one a line",
		Long: `Print all messages as JSON, one a line, topic by topic. What is damaged is left
out, and listed at the end with exit code 1.

With --broker the TOPICs to print are given instead of a FILE: a broker does not list
them. Nor does it say how much of a topic is kept: where these lines are imported all
is, until the application publishes there again.`,
		Args: func(c *cobra.Command, args []string) error {
			if e.broker == "" {
				return e.inFileOrBroker()(c, args)
			}
			return e.inFileOrBroker("TOPIC")(c, args[:min(len(args), 1)]) // any number but none
		},
		RunE: func(c *cobra.Command, args []string) error {
			if e.broker != "" {
				return e.withBroker(c, func(b broker.Broker, out *bufio.Writer) error {
					for _, topic := range args {
						if err := showBrokerTopic(c, b, out, topic, 0, true); err != nil {
							return err
						}
					}
					return nil
				})
			}
			return reading(args[0], c.OutOrStdout(), func(r *boltfile.Reader, out io.Writer) error {
				return r.Export(escaped{out})
			})
		},
	}
	e.addFlags(c)
	return c
}

func historyImportCommand() *cobra.Command {
	var e engine
	var more bool
	c := &cobra.Command{
		Use:   "import FILE < LINES",
		Short: "Make a new file of what export printed",
		Long: `Make a new file of lines as export prints them, from standard input. The file must
not be there yet. It has a new epoch, and offsets may differ: clients with a
position from before are told that it is not recovered.

With --broker they are published in a broker instead, in their order, with their times
and keys and the offsets that it gives:

  chime history export chime.db | chime history import --broker redis://host:6379

A topic that has messages there is refused, unless --append is given. What says that a
message was taken back is left out, as it names an offset. With embedded-nats the command
takes the place of one node, by that node's flags: the others run meanwhile.`,
		Args: e.inFileOrBroker(),
		RunE: func(c *cobra.Command, args []string) error {
			if e.broker != "" {
				return e.withBroker(c, func(b broker.Broker, out *bufio.Writer) error {
					t := transfer{broker: b, more: more}
					if err := t.run(c.Context(), bufio.NewReader(c.InOrStdin())); err != nil {
						return fmt.Errorf("import history: %w", err)
					}
					_, err := fmt.Fprintln(out, &t)
					return err
				})
			}
			if more {
				return errors.New("--append: it says nothing here: want it with a broker alone")
			}
			n, err := boltfile.Import(args[0], bufio.NewReader(c.InOrStdin()))
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s: imported %s\n", printable(args[0]), counted(n, "message"))
			return err
		},
	}
	e.addFlags(c)
	c.Flags().BoolVar(&more, "append", false, "with a broker: also behind the messages that a topic has already")
	return c
}

// reading opens the file, and has look print what it finds.
func reading(file string, out io.Writer, look func(*boltfile.Reader, io.Writer) error) error {
	r, err := boltfile.OpenReader(file)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriter(out)
	return errors.Join(look(r, buffered), buffered.Flush(), r.Close())
}

func counted(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprint(n, " ", noun)
}

func printTopics(r *boltfile.Reader, out io.Writer) error {
	topics, err := r.Topics()
	for _, t := range topics {
		newest := "-"
		if !t.Newest.IsZero() {
			newest = t.Newest.Local().Format(time.DateTime)
		}
		fmt.Fprintf(out, "%8d  %10d  %-19s  %s\n", t.Messages, t.Top, newest, printable(t.Name))
	}
	return err
}

// topicOf returns what the file knows of a topic.
func topicOf(r *boltfile.Reader, file, topic string) (*boltfile.Topic, error) {
	topics, err := r.Topics()
	if i := slices.IndexFunc(topics, func(t boltfile.Topic) bool { return t.Name == topic }); i >= 0 {
		return &topics[i], nil // that others can't be read is no matter
	}
	if err == nil {
		file = printable(file)
		err = fmt.Errorf("%s: no topic %q: want one that chime history topics %s lists", file, topic, file)
	}
	return nil, err
}

// showPage bounds what is read, and so held, at once.
const showPage = 1 << 20 // bytes of payload

// topicReader is a file or a broker.
type topicReader interface {
	Read(ctx context.Context, topic string, r store.Range) (store.Page, error)
}

// showBrokerTopic says so on stderr where there is nothing: a broker can't tell a topic that is
// empty from one that is misspelt, or has another prefix.
func showBrokerTopic(c *cobra.Command, b broker.Broker, out io.Writer, topic string, last int, asJSON bool) error {
	newest, err := b.History().Read(c.Context(), topic, store.Range{Newest: true, Limit: 1})
	if err != nil {
		return err
	}
	if len(newest.Messages) == 0 {
		c.PrintErrf("chime: topic %q: no messages in the broker, by this --prefix\n", topic)
	}
	return showTopic(c, b.History(), out, &boltfile.Topic{Name: topic}, last, asJSON)
}

func showTopic(c *cobra.Command, r topicReader, out io.Writer, about *boltfile.Topic, last int, asJSON bool) error {
	show := func(page store.Page) error {
		for _, m := range page.Messages {
			line := shownLine(m)
			if asJSON {
				var err error
				if line, err = exportedLine(about, m); err != nil {
					return err
				}
			}
			if _, err := io.WriteString(out, line+"\n"); err != nil {
				return err
			}
		}
		return nil
	}
	if last > 0 {
		page, err := r.Read(c.Context(), about.Name, store.Range{Newest: true, Limit: last})
		if err != nil {
			return err
		}
		return show(page)
	}
	for after, more := uint64(0), true; more; {
		page, err := r.Read(c.Context(), about.Name, store.Range{After: after, Bytes: showPage})
		if err != nil {
			return err
		}
		if err := show(page); err != nil {
			return err
		}
		if more = page.More; more {
			after = page.Messages[len(page.Messages)-1].Offset
		}
	}
	return nil
}

func shownLine(m store.Message) string {
	payload := printable(string(m.Payload))
	if m.Binary {
		payload = fmt.Sprintf("%d bytes", len(m.Payload))
	}
	return fmt.Sprintf("%s  %d  %s  %s", m.At.Local().Format(time.DateTime), m.Offset, printable(m.Event), payload)
}

func exportedLine(about *boltfile.Topic, m store.Message) (string, error) {
	l, err := boltfile.NewLine(about.Name, m, about.Keep)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = l.Write(escaped{&b})
	return strings.TrimSuffix(b.String(), "\n"), err
}

// escaped makes lines printable that come one a Write.
type escaped struct{ io.Writer }

func (e escaped) Write(line []byte) (int, error) {
	text, _ := strings.CutSuffix(string(line), "\n")
	if _, err := io.WriteString(e.Writer, printable(text)+"\n"); err != nil {
		return 0, err
	}
	return len(line), nil
}
