package boltstore

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore/internal/filetest"
)

const (
	victimEnv     = "CHIME_TEST_VICTIM" // the file
	victimWriters = 64
	victimTopics  = 5
)

// victim appends until it is killed, and says what it was told is kept.
func victim(path string) {
	s, err := Open(path, Options{})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	var mu sync.Mutex // guards stdout
	var wg sync.WaitGroup
	for w := range victimWriters {
		wg.Go(func() {
			topic := fmt.Sprint(w % victimTopics)
			for i := 0; ; i++ {
				text := fmt.Sprintf("%d.%d.%d", os.Getpid(), w, i)
				var m store.Message
				_, err := s.Append(context.Background(), topic, store.Message{Payload: []byte(text)}, store.Retention{},
					func(a store.Message) { m = a })
				if err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
				mu.Lock()
				fmt.Println(topic, m.Offset, text)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// A process that is killed takes nothing with it that an Append has returned
// for. This proves less than it seems: what the process wrote is with the
// kernel and survives it. See TestPowerCut.
func TestKilled(t *testing.T) {
	rounds := 5
	if n, err := strconv.Atoi(os.Getenv("CHIME_KILLS")); err == nil {
		rounds = n // 50 in the night
	}
	r := rand.New(rand.NewPCG(need.Seed(t), 0))
	path := filepath.Join(t.TempDir(), "chime.db")
	seen := map[string]map[uint64]string{} // by topic and offset
	epoch := ""
	for range rounds {
		killed(t, path, 200+r.IntN(3000), seen)
		epoch = autopsy(t, path, seen, epoch)
	}
}

// killed runs a victim until it has acknowledged so many messages, and adds them to seen.
func killed(t *testing.T, path string, acks int, seen map[string]map[uint64]string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), victimEnv+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		if n == acks {
			_ = cmd.Process.Kill()
		}
		f := strings.Fields(lines.Text())
		if len(f) != 3 {
			if n <= acks {
				t.Errorf("the victim said %q", lines.Text())
			}
			continue // its last words may be cut off
		}
		offset, err := strconv.ParseUint(f[1], 10, 64)
		if err != nil {
			t.Errorf("the victim said %q", lines.Text())
		}
		if seen[f[0]] == nil {
			seen[f[0]] = map[uint64]string{}
		}
		if was := seen[f[0]][offset]; was != "" {
			t.Errorf("topic %s: offset %d was given twice, to %s and %s", f[0], offset, was, f[2])
		}
		seen[f[0]][offset] = f[2]
	}
	_ = cmd.Wait() // it was killed, says the error
}

// autopsy looks at what the victim has left.
func autopsy(t *testing.T, path string, seen map[string]map[uint64]string, before string) (epoch string) {
	t.Helper()
	filetest.Sound(t, path)
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if before != "" && s.Epoch() != before {
		t.Errorf("epoch: got %q after %q", s.Epoch(), before)
	}
	for topic, acked := range seen {
		p := read(t, s, topic, store.Range{})
		last, found := uint64(0), 0
		next := map[string]int{} // per writer: its messages are in its order
		for _, m := range p.Messages {
			if m.Prev != last || m.Offset <= last {
				t.Fatalf("topic %s: got a message at %d behind %d, after one at %d", topic, m.Offset, m.Prev, last)
			}
			last = m.Offset
			if acked[m.Offset] == string(m.Payload) {
				found++
			}
			writer, i, _ := cutLast(string(m.Payload))
			if i != next[writer] {
				t.Fatalf("topic %s, writer %s: got message %d, want %d", topic, writer, i, next[writer])
			}
			next[writer]++
		}
		if !p.Complete || found != len(acked) {
			t.Errorf("topic %s: got %d of the %d that were acknowledged, complete %t", topic, found, len(acked), p.Complete)
		}
	}
	return s.Epoch()
}

func cutLast(s string) (head string, n int, err error) {
	i := strings.LastIndexByte(s, '.')
	n, err = strconv.Atoi(s[i+1:])
	return s[:i], n, err
}
