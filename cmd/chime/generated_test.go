package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/go-chime/chime/internal/need"
)

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestGeneratedTestsPassInAProject does what a newcomer does: the command is run
// from its source in a project that requires chime, and go test is next.
func TestGeneratedTestsPassInAProject(t *testing.T) {
	t.Parallel() // it waits for the compiler
	goTool := need.Program(t, "go")
	checkout, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	// The project has the requirements of this module, and so its go.sum.
	_, ours, _ := strings.Cut(readFile(t, filepath.Join(checkout, "go.mod")), "\n")
	goMod := "module example.com/chat\n" + ours +
		"\nrequire github.com/go-chime/chime v0.0.0\n\nreplace github.com/go-chime/chime => " + strconv.Quote(checkout) + "\n"
	goSum := readFile(t, filepath.Join(checkout, "go.sum"))
	project := t.TempDir()
	lay(t, map[string]string{
		filepath.Join(project, "go.mod"): goMod, filepath.Join(project, "go.sum"): goSum,
		filepath.Join(project, "main.go"): "package main\n\nfunc main() { _ = NewUserSocket() }\n",
	})

	run := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), goTool, args...)
		cmd.Dir = project
		// Nothing may be fetched: what this module's own build has is enough.
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, &out)
		}
		return out.String()
	}
	chime := func(args ...string) string {
		return run(append([]string{"run", "github.com/go-chime/chime/cmd/chime"}, args...)...)
	}
	if out := chime("g", "channel", "ChatRoom"); !strings.Contains(out, `	live.Channel("chat_room:{id}", &ChatRoom{})`+"\n") {
		t.Errorf("got %q, want how to mount it", out)
	}
	chime("g", "socket", "User", "--channel", "chat_room:{id}=ChatRoom")
	chime("generate", "channel", "Lobby", "HTTPRoom", "ChatTest", "RoomPlan9", "--dir", "rooms")
	chime("generate", "socket", "Socket", "--dir", "rooms", "--channel", "lobby:{id}=Lobby", "--channel", "chat:{id}:doc-*=ChatTest")

	for _, dir := range []string{".", "./rooms"} {
		if ignored := run("list", "-f", "{{.IgnoredGoFiles}}", dir); ignored != "[]\n" {
			t.Errorf("%s: got the files %s ignored, want none", dir, ignored)
		}
	}
	out := run("test", "-vet=all", "-v", "./...")
	for _, test := range []string{
		"TestChatRoom", "TestUserSocketServesItsChannels", "TestUserSocketRefusesStrangers",
		"TestLobby", "TestHTTPRoom", "TestChatTest", "TestRoomPlan9", "TestSocketServesItsChannels", "TestSocketRefusesStrangers",
	} {
		if !strings.Contains(out, "--- PASS: "+test+" ") {
			t.Errorf("%s has not run:\n%s", test, out)
		}
	}
}
