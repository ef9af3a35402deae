// Package scale measures what several nodes cost over an engine. It has no code but
// benchmarks; docs/scale.md has what they showed, and what follows.
package scale

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/go-chime/chime/broker/nats/embedded"
	"github.com/go-chime/chime/internal/leak"
)

// asEngine has the test binary be a NATS server in this directory, so that what it costs is
// not counted with the nodes.
const asEngine = "CHIME_SCALE_ENGINE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(asEngine); dir != "" {
		s, err := embedded.Start(embedded.Options{Dir: dir, Name: "scale", Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(s.URL())
		_, _ = io.Copy(io.Discard, os.Stdin) // until the test is over
		_ = s.Close()
		return
	}
	leak.Main(m)
}

// serveNATS starts a server in another process, and returns its URL.
func serveNATS(b *testing.B) string {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), asEngine+"="+b.TempDir())
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatalf("the server says not where it is: %v", err)
	}
	return strings.TrimSpace(line)
}
