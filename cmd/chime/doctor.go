package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/go-chime/chime/internal/doctor"
)

// Exit codes of chime doctor, besides 1 for what is no diagnosis.
const (
	exitFaults  = 2 // a client gets through, and not in each way that it should
	exitNothing = 3 // none does
)

func doctorCommand() *cobra.Command {
	var cfg doctor.Config
	var asJSON bool
	c := &cobra.Command{
		Use:   "doctor URL",
		Short: "Find out what a network does to chime, and what would cure it",
		Long: `Find out what the network between here and a server does to chime: which
transports get through, what is held back, cut or repeated, who answers, and
which settings of proxies would cure it. URL is where the Router is mounted, as
clients reach it. It takes some minutes, or seconds with --quick, which does
not look whether connections stay.

The exit code is 0 if all transports work, 2 if something is wrong and clients
get through all the same, 3 if none can, and 1 if there is no such server.

A server that asks who connects gets the bearer token that the environment
variable CHIME_TOKEN holds. No topic is joined.`,
		Example: "  chime doctor https://chat.example.com/socket",
		Args:    exactly("URL"),
		RunE: func(c *cobra.Command, args []string) error {
			cfg.URL, cfg.Token = args[0], os.Getenv(tokenVariable)
			return examine(c.Context(), cfg, asJSON, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	c.Flags().BoolVar(&cfg.Quick, "quick", false, "leave out what takes long: whether connections stay")
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object at the end")
	c.Flags().BoolVar(&cfg.Insecure, "insecure", false, "accept any certificate")
	return c
}

// examine prints what it finds as it finds it, and then what is wrong with it.
func examine(ctx context.Context, cfg doctor.Config, asJSON bool, out, errs io.Writer) error {
	waits := waiting{errs, isTerminal(errs)}
	cfg.Waiting = waits.show
	if !asJSON {
		cfg.Found = func(r doctor.Row) {
			waits.show("")
			fmt.Fprintf(out, "%-12s %-18s %s\n", r.About, r.What, printable(r.Found))
		}
	}
	report, err := doctor.Run(ctx, cfg)
	waits.show("")
	if err != nil {
		return err
	}
	if asJSON {
		enc := json.NewEncoder(out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(report); err != nil {
			return err
		}
	} else {
		prescribe(out, report)
	}
	switch {
	case len(report.Works) == 0:
		return exitError(exitNothing)
	case !report.Healthy():
		return exitError(exitFaults)
	}
	return nil
}

// prescribe prints what is wrong, with its cures, and the verdict.
func prescribe(out io.Writer, report *doctor.Report) {
	for _, f := range report.Faults {
		word := "FAULT"
		if f.Caution {
			word = "note"
		}
		fmt.Fprintf(out, "\n%-5s %s: %s\n", word, f.Name, printable(f.Says))
		for _, fix := range f.Fixes {
			indent := "\n" + strings.Repeat(" ", 18)
			fmt.Fprintf(out, "      %-11s %s\n", fix.Product, strings.Join(fix.Lines, indent))
		}
	}
	fmt.Fprintf(out, "\n%s\n", report.Verdict)
}

// waiting shows on a terminal what is waited for, in one line.
type waiting struct {
	out      io.Writer
	terminal bool
}

func (w waiting) show(what string) {
	if w.terminal {
		fmt.Fprintf(w.out, "\r\x1b[K%s", what)
	}
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// exitError is a code without a line on stderr: all is said.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }
