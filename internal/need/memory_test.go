package need

import (
	"os"
	"testing"
)

func TestFilesAreInMemoryUnlessTheyAreAskedForElsewhere(t *testing.T) {
	for _, test := range []struct{ name, all, tmp, want string }{
		{"by default", "", "", memory()},
		{"under CHIME_TEST_ALL", "1", "", ""},
		{"with a TMPDIR", "", "/elsewhere", "/elsewhere"},
	} {
		t.Setenv("CHIME_TEST_ALL", test.all)
		t.Setenv("TMPDIR", test.tmp)
		if FilesInMemory(); os.Getenv("TMPDIR") != test.want {
			t.Errorf("%s: got the TMPDIR %q, want %q", test.name, os.Getenv("TMPDIR"), test.want)
		}
	}
}
