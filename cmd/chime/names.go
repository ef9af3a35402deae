package main

import (
	"fmt"
	"go/build"
	"go/doc"
	"go/token"
	"io"
	"strings"
	"unicode"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
)

// checkName refuses what can be no exported type. What says which name it is.
func checkName(what, name string) error {
	var wrong string
	switch {
	case name == "":
		wrong = "is empty"
	case token.IsKeyword(name):
		wrong = "is a keyword of Go"
	case doc.IsPredeclared(name):
		wrong = "is predeclared in Go"
	case !token.IsIdentifier(name):
		wrong = "is not a Go identifier"
	case !token.IsExported(name):
		wrong = "is not exported"
	default:
		return nil
	}
	better := camel(name)
	if !token.IsExported(better) || !token.IsIdentifier(better) {
		better = "ChatRoom"
	}
	return fmt.Errorf("%s %q %s: want a name such as %s", what, name, wrong, better)
}

// camel makes chat-room ChatRoom.
func camel(name string) string {
	var b strings.Builder
	begin := true
	for _, r := range name {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			begin = true
			continue
		}
		if begin {
			r = unicode.ToUpper(r)
		}
		b.WriteRune(r)
		begin = false
	}
	return b.String()
}

// snake makes ChatRoom chat_room, and HTTPRoom http_room.
func snake(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		if i > 0 && unicode.IsUpper(r) && runes[i-1] != '_' {
			endsWord := !unicode.IsUpper(runes[i-1])
			beginsWord := i+1 < len(runes) && unicode.IsLower(runes[i+1])
			if endsWord || beginsWord {
				b.WriteByte('_')
			}
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// fileName is the name of a type's file, without .go. Where Go would take it for
// a test, or for one system only, the kind of the type is added.
func fileName(name, kind string) string {
	base := snake(name)
	if strings.HasSuffix(base, "_test") || !builtEverywhere(base+".go") {
		return base + "_" + kind
	}
	return base
}

// builtEverywhere asks the toolchain, which knows all its systems, about a
// system that is none.
func builtEverywhere(file string) bool {
	nowhere := build.Context{
		GOOS: "nowhere", GOARCH: "nowhere", Compiler: "gc",
		OpenFile: func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("package p\n")), nil },
	}
	match, err := nowhere.MatchFile(".", file)
	return err == nil && match
}

// checkPackage refuses what Go takes for no package, or for another kind of one.
func checkPackage(name string) error {
	switch {
	case !token.IsIdentifier(name) || name == "_":
		return fmt.Errorf("--package %q: not a Go identifier: want a name such as rooms", name)
	case strings.HasSuffix(name, "_test"):
		return fmt.Errorf("--package %q: a name for tests: want one without _test", name)
	case name == "documentation":
		return fmt.Errorf("--package %q: Go does not build a package of this name: want another", name)
	}
	return nil
}

// packageName makes the name of a folder a package's: my-rooms is myrooms. It is
// "" if nothing is left.
func packageName(folder string) string {
	name := strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, folder)
	name = strings.TrimLeftFunc(name, unicode.IsDigit)
	if checkPackage(name) != nil {
		return ""
	}
	return name
}

// anyChannel stands for those that are generated.
type anyChannel struct {
	channel.AnyoneMayJoin
	channel.ListenOnly
	channel.NothingOnLeave
}

// checkPatterns has a Router say what is wrong with them, alone or together. What says
// where they come from.
func checkPatterns(what string, channels []channelData) (err error) {
	var d channelData
	live := chime.NewRouter(chime.WithAnonymous())
	defer func() {
		switch why := recover().(type) {
		case nil:
		case string:
			_, why, _ = strings.Cut(why, "): ") // behind Channel("…")
			err = fmt.Errorf("%s %s: pattern %q: %s", what, d.Name, d.Pattern, why)
		default:
			panic(why)
		}
	}()
	for _, d = range channels {
		live.Channel(d.Pattern, anyChannel{})
	}
	return nil
}
