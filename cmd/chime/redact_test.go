package main

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore"
)

// A message that is taken back is not in the file any more, once that is compacted; and who
// comes back to a position before it is told, and misses nothing.
func TestHistoryRedact(t *testing.T) {
	path, epoch := filed(t, 60)
	want := mustHistory(t, "show", path, "chat_room:lobby", "--last=0")
	got := mustHistory(t, "redact", path, "chat_room:lobby", "17")
	if !strings.HasSuffix(got, "chime.db: 17 of chat_room:lobby is redacted; chime history compact leaves nothing of it in the file\n") {
		t.Errorf("got %q", got)
	}
	want = regexp.MustCompile(`(?m)^.*  17  said .*\n`).ReplaceAllString(want, "")
	shown := mustHistory(t, "show", path, "chat_room:lobby", "--last=0")
	others, said, _ := strings.Cut(shown, want)
	if others != "" || !regexp.MustCompile(`^\S+ \S+  63  message_redacted  {"offset":17}\n$`).MatchString(said) {
		t.Errorf("got %q, want all others, and what says so", shown)
	}
	if code, _, errs := runHistory(t, "redact", path, "chat_room:lobby", "17"); code != 1 || !strings.Contains(errs, "has no message at 17") {
		t.Errorf("once more: got exit code %d and %q", code, errs)
	}
	mustHistory(t, "redact", path, "chat_room:lobby", "18", "--event", "note_removed")
	if shown := mustHistory(t, "show", path, "chat_room:lobby", "--last=1"); !strings.Contains(shown, `note_removed  {"offset":18}`) {
		t.Errorf("got %q, want the event of --event", shown)
	}
	if line := mustHistory(t, "show", path, "chat_room:lobby", "--last=1", "--json"); !strings.Contains(line, `"keep":1000,"age":"1h0m0s"`) {
		t.Errorf("got %q, want the retention that the topic had", line)
	}
	mustHistory(t, "verify", path)
	mustHistory(t, "compact", path)
	if data, err := os.ReadFile(path); err != nil || bytes.Contains(data, []byte(`{"n":16}`)) || !bytes.Contains(data, []byte(`{"n":15}`)) {
		t.Errorf("the file has what was redacted, or error %v", err)
	}

	kept, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	page, err := kept.Read(t.Context(), "chat_room:lobby", store.Range{After: 10})
	if err != nil {
		t.Fatal(err)
	}
	redacted := func(m store.Message) bool { return m.Offset == 17 || m.Offset == 18 }
	if kept.Epoch() != epoch || !page.Complete || len(page.Messages) != 50 || slices.ContainsFunc(page.Messages, redacted) {
		t.Errorf("got epoch %q, complete %t, %d messages, want %q, true and 50", kept.Epoch(), page.Complete, len(page.Messages), epoch)
	}
}
