package boltfile

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore"
	"github.com/go-chime/chime/store/boltstore/internal/filetest"
)

func TestExportAndImport(t *testing.T) {
	path, want := lived(t)
	s := opened(t, path)
	for _, m := range []store.Message{
		{Event: "b", Payload: []byte{0, 1, 255}, Binary: true}, {Event: "b", Binary: true},
		{Event: "text", Payload: []byte("no JSON")}, {Event: "html", Payload: []byte(`"<b>&"`)}, {Event: "null", Payload: []byte("null")},
		{Event: "once", Payload: []byte("1"), Key: "k", Sum: "s"},
	} {
		if _, err := s.Append(t.Context(), "odd", m, store.Retention{Keep: 6}, nil); err != nil {
			t.Fatal(err)
		}
	}
	want["odd"] = read(t, s, "odd", store.Range{})
	epoch := s.Epoch()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	text := exported(t, path)
	to := filepath.Join(t.TempDir(), "new.db")
	n, err := Import(to, strings.NewReader(text))
	if err != nil || n != strings.Count(text, "\n") {
		t.Fatalf("got %d, %v, want %d", n, err, strings.Count(text, "\n"))
	}
	s = opened(t, to)
	if s.Epoch() == epoch {
		t.Error("the epoch is the same, and offsets are others")
	}
	for topic, page := range want {
		got := read(t, s, topic, store.Range{})
		if !slices.EqualFunc(got.Messages, page.Messages, func(a, b store.Message) bool {
			a.Offset, a.Prev, b.Offset, b.Prev = 0, 0, 0, 0
			return filetest.Same(a, b)
		}) {
			t.Errorf("topic %s: got %d messages, want %d, or others", topic, len(got.Messages), len(page.Messages))
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := OpenReader(to)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	topics, err := r.Topics()
	if err != nil || len(topics) != 3 || topics[1].Keep != (store.Retention{Keep: 30, Age: time.Hour}) {
		t.Errorf("got topics %+v, %v", topics, err)
	}
}

// What was taken back names an offset, which is no other message's in a new file.
func TestNoOffsetIsUsedAgainByAnImport(t *testing.T) {
	path := filepath.Join(t.TempDir(), "old.db")
	keep := store.Retention{Keep: 10}
	var old []uint64
	for range 3 { // a file, and what was imported from it
		s := opened(t, path)
		for range 2 {
			if _, err := s.Append(t.Context(), "a", store.Message{Event: "new", Payload: []byte("{}")}, keep, nil); err != nil {
				t.Fatal(err)
			}
		}
		for _, m := range read(t, s, "a", store.Range{}).Messages {
			if slices.Contains(old, m.Offset) {
				t.Errorf("offset %d is another message's, whose file had %v", m.Offset, old)
			}
			if m.Offset > 1<<53 {
				t.Errorf("offset %d can't be said in JavaScript", m.Offset)
			}
			old = append(old, m.Offset)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		lines := exported(t, path)
		path = filepath.Join(t.TempDir(), "new.db")
		if _, err := Import(path, strings.NewReader(lines)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestExportLeavesOutWhatIsDamaged(t *testing.T) {
	path, _ := lived(t)
	whole := exported(t, path)
	damage(t, path)
	r, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var b bytes.Buffer
	err = r.Export(&b)
	filetest.Explains(t, err, path, boltstore.ErrDamaged, "import")
	if want := `the record at offset 1198 of "all" is left out`; !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "export ") {
		t.Errorf("got %v, want %q and no advice to export", err, want)
	}
	if got, want := strings.Count(b.String(), "\n"), strings.Count(whole, "\n")-1; got != want {
		t.Errorf("got %d messages, want all but one of them, %d", got, want)
	}
	full := errors.New("pipe")
	if err := r.Export(failing{full}); !errors.Is(err, full) || strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want the writer's error", err)
	}
}

func TestImportRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "new.db")
	good := `{"topic":"a","at":"2026-01-01T00:00:00Z","event":"e","payload":{}}` + "\n"
	for _, bad := range []string{`{"topic":"a"`, `{"topic":"a","event":"e"}`, `{"event":"e","payload":1}`, `7`, `{"topic":"a","payload":1,"bytes":""}`,
		`{"topic":"a","payload":1,"binary":true}`, `{"topic":"a","payload":1,"age":"x"}`, `{"topic":"a","payload":1,"other":1}`, `{"topic":"a","bytes":"%"}`} {
		if _, err := Import(path, strings.NewReader(good+"\n\n"+bad)); err == nil || !strings.Contains(err.Error(), "message 2: ") || strings.Contains(err.Error(), "disk") {
			t.Errorf("%s: got %v, want an error that names message 2", bad, err)
		}
	}
	if got, _ := os.ReadDir(dir); len(got) != 0 {
		t.Errorf("got files %v, want none", got)
	}
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Import(path, strings.NewReader(good)); !errors.Is(err, fs.ErrExist) {
		t.Errorf("onto a file: got %v, want %v", err, fs.ErrExist)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func exported(t *testing.T, path string) string {
	t.Helper()
	r, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var b bytes.Buffer
	if err := r.Export(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
