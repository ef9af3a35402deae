package chaos

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/go-chime/chime/internal/leak"
	"github.com/go-chime/chime/internal/need"
)

// asPart has the test binary be a part of a world, which is a process of its own: its value
// says which. What the part is to know comes by its standard input.
const asPart = "CHIME_CHAOS_PART"

// parts are what the test binary can be. Each returns when it was asked to end.
var parts = map[string]func(setup []byte) error{
	"node":   serveNode,
	"server": serveNATS,
}

func TestMain(m *testing.M) {
	if part := os.Getenv(asPart); part != "" {
		in := bufio.NewReader(os.Stdin)
		line, err := in.ReadBytes('\n')
		if err == nil {
			go func() { // the test has ended, however
				_, _ = io.Copy(io.Discard, in)
				os.Exit(1)
			}()
			err = parts[part](line)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, part, err)
			os.Exit(1)
		}
		return
	}
	need.FilesInMemory()
	leak.Main(m)
}
