package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore"
	"github.com/go-chime/chime/store/boltstore/boltfile"
)

// filed makes a history of n messages in the lobby, and of two elsewhere.
func filed(t *testing.T, n int) (path, epoch string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "chime.db")
	s, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(-time.Minute)
	add := func(topic string, m store.Message) {
		m.At = at
		if _, err := s.Append(t.Context(), topic, m, store.Retention{Keep: 1000, Age: time.Hour}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		add("chat_room:lobby", store.Message{Event: "said", Payload: fmt.Appendf(nil, `{"n":%d}`, i)})
	}
	add("odd\x1b[2J\ntopic", store.Message{Event: "bell\a", Payload: []byte("{\"a\":\"\u009b2J\u202e\"}")})
	add("odd\x1b[2J\ntopic", store.Message{Event: "raw", Payload: []byte("\x1b[2J"), Binary: true})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path, s.Epoch()
}

// runHistory runs the command, which prints nothing that moves a cursor.
func runHistory(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), append([]string{"history"}, args...), &o, &e)
	for _, r := range strings.ReplaceAll(o.String()+e.String(), "\n", "") {
		if r < ' ' || r > '~' {
			t.Errorf("%q: printed %q", args, r)
		}
	}
	if (code == 0) != (e.Len() == 0) {
		t.Errorf("%q: got exit code %d and %q", args, code, e.String())
	}
	return code, o.String(), e.String()
}

// mustHistory is runHistory of what goes well.
func mustHistory(t *testing.T, args ...string) string {
	t.Helper()
	code, out, errs := runHistory(t, args...)
	if code != 0 {
		t.Fatalf("%q: got exit code %d and %q", args, code, errs)
	}
	return out
}

func TestHistoryTopics(t *testing.T) {
	path, _ := filed(t, 3)
	got := mustHistory(t, "topics", path)
	want := regexp.MustCompile(`^ +3 +3  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  chat_room:lobby\n +2 +5  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  odd\\u001b\[2J\\u000atopic\n$`)
	if !want.MatchString(got) {
		t.Errorf("got %q, want %s", got, want)
	}
}

func TestHistoryShow(t *testing.T) {
	path, _ := filed(t, 60)
	if got := mustHistory(t, "show", path, "chat_room:lobby"); strings.Count(got, "\n") != 50 || !strings.Contains(got, "  11  said  {\"n\":10}\n") {
		t.Errorf("got %q, want the newest 50", got)
	}
	if got := mustHistory(t, "show", path, "chat_room:lobby", "--last", "0"); strings.Count(got, "\n") != 60 {
		t.Errorf("got %q, want all 60", got)
	}
	if got := mustHistory(t, "show", path, "odd\x1b[2J\ntopic", "--last=2"); !strings.Contains(got, `  61  bell\u0007  {"a":"\u009b2J\u202e"}`) || !strings.Contains(got, "  62  raw  4 bytes\n") {
		t.Errorf("got %q", got)
	}
	shown := mustHistory(t, "show", path, "chat_room:lobby", "--json", "--last=1")
	var l boltfile.Line
	if err := json.Unmarshal([]byte(shown), &l); err != nil || l.Topic != "chat_room:lobby" || l.Offset != 60 || string(l.Payload) != `{"n":59}` || l.Keep != 1000 || l.Age != "1h0m0s" {
		t.Errorf("got %q, %v", shown, err)
	}
	if !strings.Contains(mustHistory(t, "export", path), shown) {
		t.Error("export prints it otherwise")
	}
}

func TestHistoryVerifyAndCompact(t *testing.T) {
	path, epoch := filed(t, 10)
	if got := mustHistory(t, "verify", path); !strings.HasSuffix(got, " has no fault: 2 topics, 12 messages, 89 bytes\n") {
		t.Errorf("got %q", got)
	}
	one := filepath.Join(t.TempDir(), "one.db")
	keep, err := boltstore.Open(one, boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := keep.Append(t.Context(), "alone", store.Message{Event: "said", Payload: []byte("1")}, store.Retention{Keep: 1}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := keep.Close(); err != nil {
		t.Fatal(err)
	}
	if got := mustHistory(t, "verify", one); !regexp.MustCompile(` has no fault: 1 topic, 1 message, 1 byte(; 1 trimmed message not deleted yet)?\n$`).MatchString(got) {
		t.Errorf("got %q, want one of each", got)
	}
	before := mustHistory(t, "export", path)
	said := regexp.MustCompile(`^\S+: (\d+) bytes, before \d{6,} bytes\n$`)
	if got := mustHistory(t, "compact", path); !said.MatchString(got) || !strings.HasPrefix(got, path) {
		t.Errorf("compact: got %q, want the file and its sizes", got)
	}
	mustHistory(t, "verify", path)
	if mustHistory(t, "export", path) != before || epochOf(t, path) != epoch {
		t.Error("compact has changed what is kept, or the epoch")
	}
	to := filepath.Join(t.TempDir(), "copy.db")
	if got := mustHistory(t, "compact", path, "--to", to); !strings.HasPrefix(got, to+": ") {
		t.Errorf("compact: got %q, want the copy and its size", got)
	}
	if mustHistory(t, "export", to) != before || epochOf(t, to) == epoch {
		t.Error("the copy is another, or has the epoch of the original")
	}
}

func TestHistoryExportAndImport(t *testing.T) {
	path, epoch := filed(t, 10)
	before := mustHistory(t, "export", path)
	lines := filepath.Join(t.TempDir(), "lines")
	if err := os.WriteFile(lines, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	stdin := os.Stdin
	defer func() { os.Stdin = stdin }()
	f, err := os.Open(lines)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	os.Stdin = f
	to := filepath.Join(t.TempDir(), "new.db")
	if got := mustHistory(t, "import", to); !strings.HasSuffix(got, "new.db: imported 12 messages\n") {
		t.Errorf("got %q", got)
	}
	placed := regexp.MustCompile(`"offset":[0-9]+,`) // its offsets are others
	if placed.ReplaceAllString(mustHistory(t, "export", to), "") != placed.ReplaceAllString(before, "") || epochOf(t, to) == epoch {
		t.Error("what was imported is another, or has the old epoch")
	}
}

func TestHistorySaysWhatIsWrong(t *testing.T) {
	t.Parallel() // it waits
	path, _ := filed(t, 3)
	lockedPath := filepath.Join(t.TempDir(), "in-use.db")
	inUse, err := boltstore.Open(lockedPath, boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer inUse.Close()
	foreign := filepath.Join(t.TempDir(), "foreign\x1b[2J.db")
	if err := os.WriteFile(foreign, []byte("no history"), 0o600); err != nil {
		t.Fatal(err)
	}
	damaged, _ := filed(t, 300)
	bits, err := os.ReadFile(damaged)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.LastIndex(bits, []byte(`{"n":7}`))
	bits[at+5] = '8'
	if err := os.WriteFile(damaged, bits, 0o600); err != nil {
		t.Fatal(err)
	}
	cut, _ := filed(t, 300)
	if err := os.Truncate(cut, 9000); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args string // split at |
		want string
	}{
		{"", "topics, show, redact, verify, compact, export or import"},
		{"redact|" + path + "|nowhere|1", `no topic "nowhere": want one that chime history topics`},
		{"redact|" + path + "|chat_room:lobby|9", `"chat_room:lobby" has no message at 9: want an offset that chime history show prints`},
		{"redact|" + path + "|chat_room:lobby|0", `OFFSET "0": want that of a message`},
		{"redact|" + path + "|chat_room:lobby|18446744073709551615", `want that of a message`}, // store.All
		{"redact|" + path + "|chat_room:lobby|last", `OFFSET "last": want that of a message`},
		{"redact|" + path + "|chat_room:lobby|1|--event=", `--event "": want 1 to 255 bytes`},
		{"redact|" + path + "|chat_room:lobby|1|--event=phx_close", "neither phx_ nor @ in front"},
		{"redact|" + path + "|chat_room:lobby", "got 2 arguments: want FILE and TOPIC and OFFSET"},
		{"redact|" + path + ".not|chat_room:lobby|1", "give the path of a chime history"},
		{"redact|" + lockedPath + "|chat_room:lobby|1", "in use by another process"},
		{path + "|topics", "and then the file"},
		{"show|" + path + "|nowhere", `no topic "nowhere"`},
		{"topics|" + foreign, ": not a chime history: give the path of a chime history\n"},
		{"compact|" + foreign, ": not a chime history: give the path of a chime history\n"},
		{"topics|" + path + ".not", "give the path of a chime history"},
		{"verify|" + lockedPath, "in use by another process"},
		{"compact|" + lockedPath, "in use by another process"},
		{"verify|" + damaged, "checksum does not match"},
		{"export|" + damaged, `the record at offset 8 of "chat_room:lobby" is left out`},
		{"export|" + cut, "go back to a backup"},
		{"compact|" + damaged, "damaged"},
		{"compact|" + path + "|--to|" + damaged, "give the path of a file that is not there yet"},
		{"compact|" + path + "|--to=", `--to "": want the path`},
		{"import|" + path, "give the path of a file that is not there yet"},
	} {
		code, _, errs := runHistory(t, strings.FieldsFunc(tt.args, func(r rune) bool { return r == '|' })...)
		if code != 1 || !strings.Contains(errs, tt.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: got exit code %d and %q, want one line with %q", tt.args, code, errs, tt.want)
		}
		if strings.HasPrefix(tt.args, "export") && strings.Contains(errs, "or export") {
			t.Errorf("%s: got %q, want no advice to do what was just done", tt.args, errs)
		}
	}
}
