package boltfile

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/go-chime/chime/store/boltstore/internal/filetest"
)

// A power cut leaves the one file or the other, and never a name of half a file.
func TestWhatIsReplacedIsOnTheDiskFirst(t *testing.T) {
	for _, c := range []struct {
		name string
		to   bool
		want []string
	}{
		{"in place", false, []string{"file, old file", "directory, new file"}},
		{"to another", true, []string{"file, no file", "directory, new file"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for i, fails := range append([]string{""}, c.want...) {
				path, pages := lived(t)
				to, at := "", path
				if c.to {
					to = filepath.Join(t.TempDir(), "copy.db")
					at = to
				}
				d := filetest.NewSyncs(t, at)
				d.Fails = fails
				if err := compact(path, to, d.Sync); (fails == "") != (err == nil) || fails != "" && !errors.Is(err, syscall.EIO) {
					t.Errorf("with an error of %q: got %v", fails, err)
				}
				done := c.want
				if fails != "" {
					done = c.want[:i]
				}
				d.Want(done...)
				there, err := os.Stat(at)
				if replaced := err == nil && (d.Was == nil || !os.SameFile(there, d.Was)); replaced != (len(done) == 2) {
					t.Errorf("with an error of %q: it has another file: %t", fails, replaced)
				}
				if got, _ := filepath.Glob(at + ".new-*"); len(got) > 0 {
					t.Errorf("with an error of %q: left behind %q", fails, got)
				}
				s := opened(t, path)
				wantPages(t, s, pages)
			}
		})
	}
}
