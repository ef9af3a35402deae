// Command chime shows the library at work, looks at it from a terminal, and
// begins your own channels.
//
//	chime serve                       a chat at http://127.0.0.1:4000
//	chime serve --broker redis://host the same on several nodes
//	chime tail chat_room:lobby        prints what happens in a topic
//	chime history topics chime.db     lists what was kept
//	chime generate channel ChatRoom   writes a channel with its test
//	chime conformance URL             checks a server against docs/protocol.md
//	chime doctor URL                  finds out what a network does to chime
//
// serve is a whole application in a few files: chat.go is its channel, site.go
// mounts it, page/ is its client. What is said is kept in one
// file, chime.db, or by a broker that joins several nodes.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once: the first one only asks, and
	// somebody who asks twice does not want to wait for slow clients.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the whole program: it returns the exit code, and returns soon after
// ctx is done. An error is one line on stderr.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return runFrom(ctx, args, os.Stdin, stdout, stderr)
}

// runFrom is run with another standard input.
func runFrom(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:           "chime",
		Short:         "Live channels over WebSocket, or an event stream with POST",
		SilenceUsage:  true, // an address in use is not cured by a page of flags
		SilenceErrors: true, // said once, below, in one line
	}
	// With these two it says itself that a command is none.
	commands := oneOf("serve", "tail", "history", "generate", "conformance", "doctor")
	root.Args = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return commands(c, args)
	}
	root.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fmt.Errorf("%s%w: want what %s --help lists", prefix(c), err, c.CommandPath())
	})
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(serveCommand(), tailCommand(), historyCommand(), generateCommand(), conformanceCommand(), doctorCommand())
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if code, ok := errors.AsType[exitError](err); ok {
		return int(code)
	}
	if err != nil {
		// A file or a server may have put anything into it.
		fmt.Fprintln(stderr, "chime:", printable(strings.ReplaceAll(strings.TrimPrefix(err.Error(), "chime: "), "\n", "; ")))
		return 1
	}
	return 0
}

// exactly wants an argument for each name.
func exactly(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) == len(names):
			return nil
		case len(names) == 0:
			return fmt.Errorf("%sunexpected argument %q: want none", prefix(c), args[0])
		}
		return fmt.Errorf("%sgot %s: want %s", prefix(c), counted(len(args), "argument"), strings.Join(names, " and "))
	}
}

// oneOf is for a command that has others: what is left is none of these.
func oneOf(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		given := "no command"
		if len(args) > 0 {
			given = fmt.Sprintf("unknown command %q", args[0])
		}
		last := len(names) - 1
		return fmt.Errorf("%s%s: want %s or %s", prefix(c), given, strings.Join(names[:last], ", "), names[last])
	}
}

// prefix is how an error of a command begins: "history show: ".
func prefix(c *cobra.Command) string {
	if _, below, ok := strings.Cut(c.CommandPath(), " "); ok {
		return below + ": "
	}
	return ""
}
