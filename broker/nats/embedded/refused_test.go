package embedded_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/go-chime/chime/broker/nats/embedded"
	"github.com/go-chime/chime/internal/need"
)

// errorLines are those of a log that are errors, which wait to be read.
type errorLines chan string

func (w errorLines) Write(line []byte) (int, error) {
	select {
	case w <- string(line):
	default: // more than a test reads
	}
	return len(line), nil
}

// Of servers with two secrets both say what is wrong, where each would say twice a second that
// there was an "Authorization Violation".
func TestServersWithTwoSecretsSayWhatIsWrong(t *testing.T) {
	one, two := need.Free(t), need.Free(t)
	var logs []errorLines
	for name, o := range map[string]embedded.Options{
		"one": {Cluster: one, Secret: "right", Peers: []string{two}},
		"two": {Cluster: two, Secret: "wrong", Peers: []string{one}},
	} {
		log := make(errorLines, 10)
		o.Dir, o.Name, o.Log = t.TempDir(), name, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelError}))
		s, err := embedded.Start(o)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		logs = append(logs, log)
	}
	for _, log := range logs {
		if got, want := <-log, "another secret: all nodes need the same"; !strings.Contains(got, want) {
			t.Errorf("got %q, want %q first", got, want)
		}
	}
}
