package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

func generateCommand() *cobra.Command {
	var to target
	c := &cobra.Command{
		Use:     "generate",
		Aliases: []string{"g"},
		Short:   "Write a channel or a socket into your project",
		Args:    oneOf("channel", "socket"),
		RunE:    func(*cobra.Command, []string) error { return nil },
	}
	c.PersistentFlags().StringVar(&to.dir, "dir", ".", "the folder to write to")
	c.PersistentFlags().StringVar(&to.pkg, "package", "", "the package of a new folder (default: the folder's name)")
	c.PersistentFlags().BoolVar(&to.force, "force", false, "overwrite existing files")
	c.AddCommand(generateChannelCommand(&to), generateSocketCommand(&to))
	return c
}

func generateChannelCommand(to *target) *cobra.Command {
	return &cobra.Command{
		Use:   "channel NAME...",
		Short: "Write channels, each with its test",
		Long: `Write a channel for each name, and a test that passes as it is written:
ChatRoom becomes chat_room.go, for the topics chat_room:{id}, and
chat_room_test.go. The two lines that mount it are printed.

If one of the files exists, none is written.`,
		Example: "  chime generate channel ChatRoom Lobby",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("generate channel: no name given: want one or more, as in ChatRoom")
			}
			return nil
		},
		RunE: func(c *cobra.Command, names []string) error {
			return generateChannels(*to, names, c.OutOrStdout())
		},
	}
}

func generateSocketCommand(to *target) *cobra.Command {
	var channels []string
	c := &cobra.Command{
		Use:   "socket NAME",
		Short: "Write the router of some channels, and the function that says who may connect",
		Long: `Write a function that returns a router with its channels, and the one that
says who may connect: User becomes NewUserSocket and connectUser in
user_socket.go, with a test in user_socket_test.go. The two lines that mount it
are printed.

If one of the files exists, none is written.`,
		Example: "  chime generate socket User --channel chat_room:{id}=ChatRoom --channel lobby:{id}=Lobby",
		Args:    exactly("one NAME, as in User"),
		RunE: func(c *cobra.Command, names []string) error {
			return generateSocket(*to, names[0], channels, c.OutOrStdout())
		},
	}
	c.Flags().StringArrayVar(&channels, "channel", nil, "a pattern and its channel, as in chat_room:{id}=ChatRoom; repeatable")
	return c
}

// channelData is what the templates read of a channel.
type channelData struct {
	Package string
	Name    string // ChatRoom
	Pattern string // chat_room:{id}
	Topic   string // chat_room:1, which the pattern matches
}

// generateChannels writes a channel for each name, and tells out how to mount them.
func generateChannels(to target, names []string, out io.Writer) error {
	var channels []channelData
	var outlines []outline
	for _, name := range names {
		if err := checkName("channel", name); err != nil {
			return err
		}
		d := channelData{Name: name, Pattern: snake(name) + ":{id}", Topic: snake(name) + ":1"}
		if err := checkPatterns("channel", []channelData{d}); err != nil {
			return err
		}
		channels = append(channels, d)
		file := fileName(name, "channel")
		outlines = append(outlines,
			outline{file + ".go", "channel.go.tmpl", d},
			outline{file + "_test.go", "channel_test.go.tmpl", d})
	}
	f, err := to.generate(outlines, out)
	if err != nil {
		return err
	}
	var mount []string
	for _, d := range channels {
		mount = append(mount, fmt.Sprintf("%s.Channel(%q, &%s{})", f.router(), d.Pattern, f.qualified(d.Name)))
	}
	f.printMount(out, fmt.Sprintf("Where a chime.Router, %s, is mounted on your routes, r:", f.router()), mount)
	return nil
}

// socketData is what the templates read of a socket.
type socketData struct {
	Noun     string // User, of NewUserSocket and connectUser
	Channels []channelData
}

// generateSocket writes a router, and tells out how to mount it.
func generateSocket(to target, name string, flags []string, out io.Writer) error {
	if err := checkName("socket", name); err != nil {
		return err
	}
	if len(flags) == 0 {
		return errors.New("generate socket: no --channel given: want one or more, as in --channel chat_room:{id}=ChatRoom")
	}
	d := socketData{Noun: strings.TrimSuffix(name, "Socket")}
	for _, flag := range flags {
		ch, err := parseChannelFlag(flag)
		if err != nil {
			return err
		}
		d.Channels = append(d.Channels, ch)
	}
	if err := checkPatterns("--channel", d.Channels); err != nil {
		return err
	}
	file := snake(d.Noun + "Socket")
	f, err := to.generate([]outline{
		{file + ".go", "socket.go.tmpl", d},
		{file + "_test.go", "socket_test.go.tmpl", d},
	}, out)
	if err != nil {
		return err
	}
	for _, ch := range d.Channels {
		if _, there := f.declared[ch.Name]; !there {
			f.declared[ch.Name] = "said once"
			fmt.Fprintf(out, "\n%s is still missing: chime generate channel %[1]s%s\n", ch.Name, to.flag())
		}
	}
	fmt.Fprintf(out, "\nNo client can connect until connect%s, in %s, returns an identity.\n", d.Noun, filepath.Join(to.dir, file+".go"))
	f.printMount(out, "Where your routes, r, are:", []string{fmt.Sprintf("%s := %s()", f.router(), f.qualified("New"+d.Noun+"Socket"))})
	return nil
}

// parseChannelFlag reads chat_room:{id}=ChatRoom. A pattern may have a = in it, a
// name has none.
func parseChannelFlag(flag string) (channelData, error) {
	i := strings.LastIndex(flag, "=")
	if i < 1 {
		return channelData{}, fmt.Errorf("--channel %q: want a pattern and a channel, as in chat_room:{id}=ChatRoom", flag)
	}
	d := channelData{Pattern: flag[:i], Name: flag[i+1:]}
	if err := checkName("--channel", d.Name); err != nil {
		return d, err
	}
	segments := strings.Split(d.Pattern, ":")
	for i, s := range segments {
		if strings.HasPrefix(s, "{") {
			segments[i] = "1"
		} else if before, ok := strings.CutSuffix(s, "*"); ok {
			segments[i] = before + "1"
		}
	}
	d.Topic = strings.Join(segments, ":")
	return d, nil
}

// target is where files go, as the flags say.
type target struct {
	dir, pkg string
	force    bool
}

// generate writes the files and lists them on out. When it fails it has changed
// nothing.
func (to target) generate(outlines []outline, out io.Writer) (folder, error) {
	var names []string
	for _, o := range outlines {
		names = append(names, o.file)
	}
	if err := to.checkFree(names); err != nil {
		return folder{}, err
	}
	f, err := look(to.dir, to.pkg, names)
	if err != nil {
		return f, err
	}
	sources, err := render(outlines, f.pkg)
	if err != nil {
		return f, err
	}
	if err := f.add(sources); err != nil {
		return f, err
	}
	if err := to.write(sources); err != nil {
		return f, err
	}
	for _, name := range names {
		fmt.Fprintln(out, filepath.Join(to.dir, name))
	}
	return f, nil
}

// flag is the --dir that says where to again.
func (to target) flag() string {
	if to.dir == "." {
		return ""
	}
	return " --dir " + to.dir
}

// printMount shows the lines of a program that mount what was generated, which
// has to import the folder unless it is the folder.
func (f folder) printMount(out io.Writer, where string, lines []string) {
	switch {
	case f.importPath == "":
		fmt.Fprint(out, "\nNo go.mod in this folder or above, so the files do not build yet: run go mod init example.com/chat, then go mod tidy\n")
	case !f.hasChime:
		fmt.Fprint(out, "\nThe go.mod does not name github.com/go-chime/chime yet: run go mod tidy\n")
	}
	fmt.Fprintf(out, "\n%s\n\n", where)
	for i, line := range lines {
		if i == 0 && f.pkg != "main" && f.importPath != "" {
			line += fmt.Sprintf(" // import %q", f.importPath)
		}
		fmt.Fprintf(out, "\t%s\n", line)
	}
	fmt.Fprintf(out, "\tr.Mount(\"/socket\", %s)\n", f.router())
}
