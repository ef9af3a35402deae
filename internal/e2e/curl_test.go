package e2e

import (
	"os/exec"
	"regexp"
	"testing"

	"github.com/go-chime/chime/internal/need"
)

// The smallest client there is: history, then whatever happens in the room,
// for as long as one likes to watch.
func TestCurlPrintsHistoryThenTheLivingRoom(t *testing.T) {
	curl := need.Program(t, "curl")
	s := serve(t)
	s.post(t, "lobby", "first")
	s.post(t, "lobby", "second")
	s.post(t, "elsewhere", "not for the lobby")

	c := start(t, exec.Command(curl, "--silent", "--show-error", "-N", s.url+"/socket/sse?join=chat_room:lobby"))
	// One line an event, and none but these in between: line looks only forward.
	c.line(t, regexp.MustCompile(`^data: ?\[.*"phx_reply".*"status":"ok"`))
	c.line(t, regexp.MustCompile(`^data: ?\[.*"chat_room:lobby","message_new",\{.*"message":"first"`))
	c.line(t, regexp.MustCompile(`^data: ?\[.*"chat_room:lobby","message_new",\{.*"message":"second"`))
	s.post(t, "elsewhere", "nor this")
	s.post(t, "lobby", "third")
	c.line(t, regexp.MustCompile(`^data: ?\[.*"chat_room:lobby","message_new",\{.*"message":"third"`))

	// Ended by the server, not cut: curl calls a body that breaks off an error.
	s.stop(t)
	if err := c.wait(t); err != nil {
		t.Errorf("curl when the server ends: %v", err)
	}
	if out := c.output(); regexp.MustCompile(`not for the lobby|nor this`).MatchString(out) {
		t.Errorf("another room's message reached the lobby")
	}
}
