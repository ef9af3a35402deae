// Command chime shows the library at work, looks at it from a terminal, and
// begins your own channels.
//
//	chime serve                       a chat at http://127.0.0.1:4000
//	chime tail chat_room:lobby        prints what happens in a topic
//	chime history topics chime.db     lists what was kept
//	chime generate channel ChatRoom   writes a channel with its test
//
// serve is a whole application in a few files: chat.go is its channel, site.go
// mounts it, page/ is its client. What is said is kept in one
// file, chime.db.
package main

import (
	"context"
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
	root := &cobra.Command{
		Use:           "chime",
		Short:         "Live channels over WebSocket, or an event stream with POST",
		SilenceUsage:  true, // an address in use is not cured by a page of flags
		SilenceErrors: true, // said once, below, in one line
	}
	root.DisableSuggestions = true
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(serveCommand(), tailCommand(), historyCommand(), generateCommand())
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.ExecuteContext(ctx); err != nil {
		// A file or a server may have put anything into it.
		fmt.Fprintln(stderr, "chime:", printable(strings.ReplaceAll(strings.TrimPrefix(err.Error(), "chime: "), "\n", "; ")))
		return 1
	}
	return 0
}
