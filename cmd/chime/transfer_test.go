package main

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-chime/chime/internal/redistest"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore"
	"github.com/go-chime/chime/store/boltstore/boltfile"
)

// What one file has is in a broker afterwards, as it was said, in its order.
func TestFromAFileToABroker(t *testing.T) {
	t.Parallel() // it waits
	file := filepath.Join(t.TempDir(), "chime.db")
	kept, err := boltstore.Open(file, boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	keep := store.Retention{Keep: 100, Age: 24 * time.Hour}
	said := time.Now().Add(-3 * time.Hour).Truncate(time.Microsecond).UTC()
	for i, m := range []store.Message{
		{Event: "message_new", Payload: []byte(`{"message":"ä  b"}`), Key: "k1"},
		{Event: "message_new", Payload: []byte{0, 255}, Binary: true},
		{Event: "other", Payload: []byte(`{}`), Key: "k2", Sum: "s"},
	} {
		m.At = said.Add(time.Duration(i) * time.Minute)
		for _, topic := range []string{"chat_room:a b*>", "chat_room:ü"} {
			if _, err := kept.Append(t.Context(), topic, m, keep, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := kept.Close(); err != nil {
		t.Fatal(err)
	}
	lines := withInput(t, "", "export", file)

	for name, args := range map[string]func(t *testing.T) []string{
		"redis": func(t *testing.T) []string { return []string{"--broker", redistest.Start(t).URL()} },
		embeddedNATS: func(t *testing.T) []string {
			return []string{"--broker", embeddedNATS, "--dir", filepath.Join(t.TempDir(), "node")}
		},
	} {
		t.Run(name, func(t *testing.T) {
			args := append(args(t), "--secret-file", filepath.Join(t.TempDir(), "secret"))
			if got := withInput(t, lines, append([]string{"import"}, args...)...); got != "imported 6 messages\n" {
				t.Errorf("got %q, want 6 messages", got)
			}
			var shown, noted bytes.Buffer
			if code, want := runWith(t, "", &shown, &noted, append([]string{"history", "show", "chat_room:misspelt"}, args...)...), `topic "chat_room:misspelt": no messages in the broker`; code != 0 || !strings.Contains(noted.String(), want) {
				t.Errorf("got exit code %d and %q, want %q", code, &noted, want)
			}
			got := withInput(t, "", append([]string{"export", "chat_room:a b*>", "chat_room:ü"}, args...)...)
			if want := without(t, lines); !slices.Equal(without(t, got), want) {
				t.Errorf("got %q, want %q", without(t, got), want)
			}
			if got := withInput(t, "", append([]string{"show", "chat_room:ü", "--last", "1"}, args...)...); !strings.HasSuffix(got, "  other  {}\n") || strings.Count(got, "\n") != 1 {
				t.Errorf("show: got %q, want the last message", got)
			}

			var out, errs bytes.Buffer
			code := runWith(t, lines, &out, &errs, append([]string{"history", "import"}, args...)...)
			if want := `message 1: topic "chat_room:a b*>" has messages already: want --append`; code != 1 || !strings.Contains(errs.String(), want) {
				t.Errorf("again: got exit code %d and %q, want %q", code, &errs, want)
			}
			more := `{"topic":"chat_room:ü","at":"` + said.Add(time.Hour).Format(time.RFC3339Nano) + `","event":"e","payload":{},"keep":100}` + "\n" +
				`{"topic":"chat_room:ü","at":"2020-01-01T00:00:00Z","event":"e","payload":{},"age":"24h"}` + "\n" +
				`{"topic":"chat_room:ü","at":"` + said.Add(time.Hour).Format(time.RFC3339Nano) + `","event":"message_redacted","payload":{"offset":2}}` + "\n"
			if got := withInput(t, more, append([]string{"import", "--append"}, args...)...); got != "imported 1 message; 1 had aged; 1 said that another was taken back\n" {
				t.Errorf("got %q, want one that is new and one that has aged", got)
			}
			if got := withInput(t, "", append([]string{"show", "chat_room:ü"}, args...)...); strings.Count(got, "\n") != 4 {
				t.Errorf("show: got %q, want four messages", got)
			}
		})
	}
}

func TestMistakesOfAnImport(t *testing.T) {
	file := filepath.Join(t.TempDir(), "chime.db")
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"import", file, "--broker", "redis://host"}, `history import: unexpected argument`},
		{[]string{"import", file, "--append"}, "--append: it says nothing here: want it with a broker alone"},
		{[]string{"import", file, "--prefix", "x"}, "--prefix: it says nothing here"},
		{[]string{"show", file, "--broker", "http://host", "t"}, `--broker: scheme "http"`},
		{[]string{"export", "--broker", "redis://host"}, "history export: got 0 arguments: want TOPIC"},
	} {
		var out, errs bytes.Buffer
		if code := runWith(t, "", &out, &errs, append([]string{"history"}, tt.args...)...); code != 1 || !strings.Contains(errs.String(), tt.want) {
			t.Errorf("%q: got exit code %d and %q, want %q", tt.args, code, &errs, tt.want)
		}
	}
}

// without are lines without what a broker does not keep or gives itself: offsets, and for how
// long messages are kept.
func without(t *testing.T, lines string) (list []string) {
	t.Helper()
	for line := range strings.Lines(lines) {
		var l boltfile.Line
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		l.Offset, l.Keep, l.Age, l.At = 0, 0, "", l.At.UTC()
		text, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, string(text))
	}
	return list
}

// withInput runs a command of chime history that succeeds.
func withInput(t *testing.T, in string, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if code := runWith(t, in, &out, &errs, append([]string{"history"}, args...)...); code != 0 {
		t.Fatalf("%q: got exit code %d and %s", args, code, &errs)
	}
	return out.String()
}

func runWith(t *testing.T, in string, out, errs *bytes.Buffer, args ...string) int {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return runFrom(ctx, args, strings.NewReader(in), out, errs)
}
