package boltfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore"
	"github.com/go-chime/chime/store/boltstore/internal/disk"
	"github.com/go-chime/chime/store/boltstore/internal/filetest"
)

// lived returns a closed file in which everything has happened: topics trimmed,
// forgotten, redacted, of several retentions; and what a store reads of it.
func lived(t *testing.T) (path string, want map[string]store.Page) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "chime.db")
	life.once.Do(func() {
		first := filepath.Join(t.TempDir(), "first.db")
		life.pages = live(t, first)
		life.file, _ = os.ReadFile(first)
	})
	filetest.Write(t, path, life.file)
	return path, maps.Clone(life.pages)
}

// life is what live makes, which takes a while.
var life struct {
	once  sync.Once
	file  []byte
	pages map[string]store.Page
}

func live(t *testing.T, path string) map[string]store.Page {
	s, err := boltstore.Open(path, boltstore.Options{})
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
	want := map[string]store.Page{}
	for _, topic := range []string{"all", "few", "forgotten", "unknown"} {
		want[topic] = read(t, s, topic, store.Range{})
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return want
}

// reads is a store or a reader.
type reads interface {
	Read(ctx context.Context, topic string, r store.Range) (store.Page, error)
}

// wantPages compares what a store or a reader has with what it should.
func wantPages(t *testing.T, s reads, want map[string]store.Page) {
	t.Helper()
	for topic, page := range want {
		got, err := s.Read(t.Context(), topic, store.Range{})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.EqualFunc(got.Messages, page.Messages, filetest.Same) || got.Top != page.Top || got.Complete != page.Complete {
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
		wantPages(t, r, want)
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
	wantPages(t, r, want)
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
	_, err = boltstore.Open(path, boltstore.Options{})
	if !errors.Is(err, boltstore.ErrLocked) && !errors.Is(err, fs.ErrPermission) {
		t.Errorf("open meanwhile: got %v, want %v", err, boltstore.ErrLocked)
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
	for path, want := range map[string]error{empty: boltstore.ErrForeign, filepath.Join(dir, "none.db"): fs.ErrNotExist} {
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
			s := opened(t, path)
			epoch := s.Epoch()
			last := say(t, s, "late", `"x"`, store.Retention{})
			want["late"] = read(t, s, "late", store.Range{})
			if crashed {
				left := filepath.Join(t.TempDir(), "chime.db")
				filetest.Copy(t, path, left)
				path = left
			} else if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			before := filetest.Sound(t, path)
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
			after := filetest.Sound(t, path)
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
			s = opened(t, path)
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
	original, s := opened(t, path), opened(t, to)
	wantPages(t, s, want)
	if original.Epoch() == s.Epoch() {
		t.Error("both have one epoch")
	}
	if err := Compact(path, to); !errors.Is(err, boltstore.ErrLocked) && !errors.Is(err, fs.ErrExist) {
		t.Errorf("onto a file: got %v", err)
	}
}

func TestCompactKeepsItsHandsOffWhatIsDamagedOrInUse(t *testing.T) {
	path, _ := lived(t)
	damage(t, path)
	before, _ := os.ReadFile(path)
	if err := Compact(path, ""); !errors.Is(err, boltstore.ErrDamaged) {
		t.Errorf("damaged: got %v, want %v", err, boltstore.ErrDamaged)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the file is another")
	}
	used := filepath.Join(t.TempDir(), "chime.db")
	opened(t, used)
	if err := Compact(used, ""); !errors.Is(err, boltstore.ErrLocked) {
		t.Errorf("in use: got %v, want %v", err, boltstore.ErrLocked)
	}
	if got, _ := os.ReadDir(filepath.Dir(path)); len(got) != 1 {
		t.Errorf("got files %v, want the one", got)
	}
}

// What is written after a wait for the lock of a file that was replaced meanwhile
// would go into one that has no name any more.
func TestOpenWhileItIsReplaced(t *testing.T) {
	path, _ := lived(t)
	_, err := disk.Open(path, disk.Options{OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
		f, err := os.OpenFile(name, flag, mode)
		if err == nil {
			err = Compact(path, "")
		}
		return f, err
	}})
	if !errors.Is(err, disk.ErrReplaced) {
		t.Errorf("got %v, want %v", err, disk.ErrReplaced)
	}
	opened(t, path)
}

func TestVerifyNamesTenFaults(t *testing.T) {
	path, _ := lived(t)
	filetest.Damage(t, path, `{"n":`)
	_, err := Verify(path)
	if !errors.Is(err, boltstore.ErrDamaged) || strings.Count(err.Error(), "checksum") != 10 || !strings.Contains(err.Error(), " more") {
		t.Errorf("got %v, want ten faults and how many more", err)
	}
}

// damage flips a bit in the record of the last message of the topic all.
func damage(t *testing.T, path string) { filetest.Damage(t, path, `{"n":399}`) }

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// What can't be opened can't be exported either.
func TestOnlyAFileThatOpensCanBeExported(t *testing.T) {
	path, _ := lived(t)
	broken := filepath.Join(t.TempDir(), "broken.db")
	filetest.Copy(t, path, broken)
	filetest.Truncate(t, broken, 5*4096)
	_, opening := boltstore.Open(broken, boltstore.Options{})
	_, reading := OpenReader(broken)
	_, verifying := Verify(broken)
	for _, err := range []error{opening, reading, verifying, Compact(broken, "")} {
		filetest.Explains(t, err, broken, boltstore.ErrDamaged, "backup")
		if strings.Contains(err.Error(), "export") {
			t.Errorf("got %v, want no advice to export: that fails as well", err)
		}
	}
	damage(t, path)
	_, err := Verify(path)
	for _, err := range []error{err, Compact(path, "")} {
		filetest.Explains(t, err, path, boltstore.ErrDamaged, "export what can be read")
	}
}

func TestNothingToVerify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "typo.db")
	_, err := Verify(path)
	filetest.Explains(t, err, path, fs.ErrNotExist, "path of a chime history")
}

func TestAFileThatMayNotBeRead(t *testing.T) {
	path, _ := lived(t)
	_, err := disk.Open(path, disk.Options{ReadOnly: true, OpenFile: func(name string, _ int, _ os.FileMode) (*os.File, error) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EACCES}
	}})
	filetest.Explains(t, err, path, fs.ErrPermission, "read the file")
	if strings.Contains(err.Error(), "write") {
		t.Errorf("got %v, want no advice to let somebody write who only reads", err)
	}
}

// opened opens a store. At the end of the test it is closed, and its file verified.
func opened(t *testing.T, path string) *boltstore.Store {
	t.Helper()
	s, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		filetest.Sound(t, path)
	})
	return s
}

func say(t *testing.T, s *boltstore.Store, topic, text string, keep store.Retention) (announced store.Message) {
	t.Helper()
	m := store.Message{Event: "said", Payload: []byte(text)}
	if _, err := s.Append(t.Context(), topic, m, keep, func(m store.Message) { announced = m }); err != nil {
		t.Fatal(err)
	}
	return announced
}

func read(t *testing.T, s reads, topic string, r store.Range) store.Page {
	t.Helper()
	p, err := s.Read(t.Context(), topic, r)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
