package boltstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/go-chime/chime/store"
)

// lived returns a closed file in which everything has happened: topics trimmed,
// forgotten, redacted, of several retentions; and what a store reads of it.
func lived(t *testing.T) (path string, want map[string]store.Page) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "chime.db")
	s, err := Open(path, Options{checkpointEvery: 70, sweepAfter: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 400 {
		say(t, s, "all", fmt.Sprintf(`{"n":%d}`, i), store.Retention{})
		say(t, s, "few", fmt.Sprintf(`"%d"`, i), store.Retention{Keep: 30, Age: time.Hour})
		say(t, s, "forgotten", `"regretted"`, store.Retention{})
	}
	if err := s.Forget(t.Context(), "forgotten"); err != nil {
		t.Fatal(err)
	}
	first := read(t, s, "all", store.Range{Limit: 300})
	for _, m := range first.Messages[100:120] {
		if err := s.Redact(t.Context(), "all", m.Offset); err != nil {
			t.Fatal(err)
		}
	}
	want = map[string]store.Page{}
	for _, topic := range []string{"all", "few", "forgotten", "unknown"} {
		want[topic] = read(t, s, topic, store.Range{})
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path, want
}

// wantPages compares what a store or a reader has with what it should.
func wantPages(t *testing.T, s store.Store, want map[string]store.Page) {
	t.Helper()
	for topic, page := range want {
		got, err := s.Read(t.Context(), topic, store.Range{})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.EqualFunc(got.Messages, page.Messages, same) || got.Top != page.Top || got.Complete != page.Complete {
			t.Errorf("topic %s: got %d messages up to %d, complete %t, want %d, %d, %t",
				topic, len(got.Messages), got.Top, got.Complete, len(page.Messages), page.Top, page.Complete)
		}
	}
}

// What a reader loads of the index it keeps, so several who ask at once may
// load the same.
func TestReaderServesSeveralAtOnce(t *testing.T) {
	path, want := lived(t)
	for range 20 {
		r, err := OpenReader(path)
		if err != nil {
			t.Fatal(err)
		}
		var start, end sync.WaitGroup
		start.Add(1)
		for _, ask := range []func() error{
			func() error { _, err := r.Topics(); return err },
			func() error { return r.Export(io.Discard) },
			func() error { _, err := r.Read(t.Context(), "few", store.Range{}); return err },
		} {
			for range 2 {
				end.Go(func() {
					start.Wait()
					if err := ask(); err != nil {
						t.Error(err)
					}
				})
			}
		}
		start.Done()
		end.Wait()
		wantPages(t, r.s, want)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReaderReadsAndChangesNothing(t *testing.T) {
	path, want := lived(t)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	r, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	wantPages(t, r.s, want)
	topics, err := r.Topics()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, about := range topics {
		page := want[about.Name]
		names = append(names, about.Name)
		newest := time.Time{}
		if n := len(page.Messages); n > 0 {
			newest = page.Messages[n-1].At
		}
		if about.Messages != len(page.Messages) || about.Top != page.Top || !about.Newest.Equal(newest) {
			t.Errorf("got %+v, want %d messages up to %d, at %v", about, len(page.Messages), page.Top, newest)
		}
	}
	if !slices.Equal(names, []string{"all", "few", "forgotten"}) || topics[1].Keep != (store.Retention{Keep: 30, Age: time.Hour}) {
		t.Errorf("got topics %+v", topics)
	}
	other, err := OpenReader(path)
	if err != nil {
		t.Fatalf("a second reader: %v", err)
	}
	_, err = Open(path, Options{})
	if !errors.Is(err, ErrLocked) && !errors.Is(err, fs.ErrPermission) {
		t.Errorf("open meanwhile: got %v, want %v", err, ErrLocked)
	}
	if err := errors.Join(r.Close(), other.Close()); err != nil {
		t.Error(err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the file is another")
	}
}

func TestReaderOfNothing(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.db")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{empty: ErrForeign, filepath.Join(dir, "none.db"): fs.ErrNotExist} {
		if _, err := OpenReader(path); !errors.Is(err, want) || !strings.Contains(err.Error(), "give the path of a chime history") {
			t.Errorf("%s: got %v, want %v and what to do", path, err, want)
		}
	}
	if got, _ := os.ReadDir(dir); len(got) != 1 {
		t.Errorf("got files %v, want that the reader makes none", got)
	}
}

func TestCompactLosesNothingButRoom(t *testing.T) {
	for _, crashed := range []bool{false, true} {
		t.Run(fmt.Sprintf("crashed=%t", crashed), func(t *testing.T) {
			path, want := lived(t)
			s := opened(t, path, Options{checkpointEvery: 1 << 30, sweepAfter: 1 << 30})
			epoch := s.Epoch()
			last := say(t, s, "late", `"x"`, store.Retention{})
			want["late"] = read(t, s, "late", store.Range{})
			if crashed { // what was after the checkpoint is only in the log
				left := filepath.Join(t.TempDir(), "chime.db")
				copyFile(t, path, left)
				path = left
			} else if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			before := sound(t, path)
			size := fileSize(t, path)
			if err := os.Chmod(path, 0o640); err != nil {
				t.Fatal(err)
			}
			link := filepath.Join(t.TempDir(), "link.db")
			if err := os.Symlink(path, link); err != nil {
				t.Fatal(err)
			}
			if err := Compact(link, ""); err != nil {
				t.Fatal(err)
			}
			after := sound(t, path)
			if before.Waiting == 0 || after.Waiting != 0 || after.Messages != before.Messages || after.Topics != before.Topics {
				t.Errorf("got %+v of %+v", after, before)
			}
			if got := fileSize(t, path); got >= size {
				t.Errorf("got %d bytes, want less than %d", got, size)
			}
			if raw, _ := os.ReadFile(path); bytes.Contains(raw, []byte("regretted")) {
				t.Error("what was forgotten is still in the file")
			}
			if info, _ := os.Lstat(link); info.Mode()&fs.ModeSymlink == 0 {
				t.Error("the link is gone")
			}
			if info, _ := os.Stat(path); info.Mode().Perm() != 0o640 {
				t.Errorf("got mode %v, want that of the file before", info.Mode())
			}
			if got, _ := os.ReadDir(filepath.Dir(path)); len(got) != 1 {
				t.Errorf("got files %v, want the one", got)
			}
			s = opened(t, path, Options{})
			if s.Epoch() != epoch {
				t.Errorf("epoch: got %q, want %q", s.Epoch(), epoch)
			}
			wantPages(t, s, want)
			if next := say(t, s, "late", `"y"`, store.Retention{}); next.Prev != last.Offset || next.Offset <= last.Offset {
				t.Errorf("next: got %d after %d, want it beyond %d", next.Offset, next.Prev, last.Offset)
			}
		})
	}
}

// A copy elsewhere is a backup: the original may go on with the same offsets.
func TestCompactToAnotherFile(t *testing.T) {
	path, want := lived(t)
	before, _ := os.ReadFile(path)
	to := filepath.Join(t.TempDir(), "copy.db")
	if err := Compact(path, to); err != nil {
		t.Fatal(err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the original is another")
	}
	original, s := opened(t, path, Options{}), opened(t, to, Options{})
	wantPages(t, s, want)
	if original.Epoch() == s.Epoch() {
		t.Error("both have one epoch")
	}
	if err := Compact(path, to); !errors.Is(err, ErrLocked) && !errors.Is(err, fs.ErrExist) {
		t.Errorf("onto a file: got %v", err)
	}
}

func TestCompactKeepsItsHandsOffWhatIsDamagedOrInUse(t *testing.T) {
	path, _ := lived(t)
	damage(t, path)
	before, _ := os.ReadFile(path)
	if err := Compact(path, ""); !errors.Is(err, ErrDamaged) {
		t.Errorf("damaged: got %v, want %v", err, ErrDamaged)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the file is another")
	}
	s := begun(t, Options{})
	if err := Compact(s.path, ""); !errors.Is(err, ErrLocked) {
		t.Errorf("in use: got %v, want %v", err, ErrLocked)
	}
	if got, _ := os.ReadDir(filepath.Dir(path)); len(got) != 1 {
		t.Errorf("got files %v, want the one", got)
	}
}

// Who has waited for the lock of a file that was replaced meanwhile would write
// into one that has no name any more.
func TestOpenWhileItIsReplaced(t *testing.T) {
	path, _ := lived(t)
	_, err := Open(path, Options{openFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
		f, err := os.OpenFile(name, flag, mode)
		if err == nil {
			err = Compact(path, "")
		}
		return f, err
	}})
	if !errors.Is(err, errReplaced) {
		t.Errorf("got %v, want %v", err, errReplaced)
	}
	opened(t, path, Options{})
}

func TestExportAndImport(t *testing.T) {
	path, want := lived(t)
	s := opened(t, path, Options{})
	for _, m := range []store.Message{
		{Event: "b", Payload: []byte{0, 1, 255}, Binary: true}, {Event: "b", Binary: true},
		{Event: "text", Payload: []byte("no JSON")}, {Event: "html", Payload: []byte(`"<b>&"`)}, {Event: "null", Payload: []byte("null")},
	} {
		if err := s.Append(t.Context(), "odd", m, store.Retention{Keep: 5}, nil); err != nil {
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
	s = opened(t, to, Options{})
	if s.Epoch() == epoch {
		t.Error("the epoch is the same, and offsets are others")
	}
	for topic, page := range want {
		got := read(t, s, topic, store.Range{})
		if !slices.EqualFunc(got.Messages, page.Messages, func(a, b store.Message) bool {
			a.Offset, a.Prev, b.Offset, b.Prev = 0, 0, 0, 0
			return same(a, b)
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
	explains(t, err, path, ErrDamaged, "import")
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

func TestVerifyNamesTenFaults(t *testing.T) {
	path, _ := lived(t)
	update(t, path, func(tx *bolt.Tx) error {
		c := tx.Bucket(logBucket).Cursor()
		for k, _ := c.First(); k != nil; k, _ = c.Next() {
			if err := c.Delete(); err != nil {
				return err
			}
		}
		return nil
	})
	_, err := Verify(path)
	if !errors.Is(err, ErrDamaged) || strings.Count(err.Error(), "missing") != toldOf || !strings.Contains(err.Error(), " more") {
		t.Errorf("got %v", err)
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

// damage flips a bit in the record of the last message of the topic all.
func damage(t *testing.T, path string) {
	t.Helper()
	update(t, path, func(tx *bolt.Tx) error {
		c := tx.Bucket(logBucket).Cursor()
		for k, v := c.Last(); k != nil; k, v = c.Prev() {
			if bytes.Contains(v, []byte(`{"n":399}`)) {
				bad := slices.Clone(v)
				bad[len(bad)-1] ^= 1
				return tx.Bucket(logBucket).Put(slices.Clone(k), bad)
			}
		}
		return errors.New("nothing to damage")
	})
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
