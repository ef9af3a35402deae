package need

import (
	"flag"
	"os"
)

// FilesInMemory has t.TempDir be in memory where the system offers that. It is for TestMain
// of a package whose tests sync files thousands of times, which is most of their time on a
// disk. They find the same: no test can take the power away, and one that cuts it has a disk
// of its own making. Under CHIME_TEST_ALL and for benchmarks files are on the disk, and where
// TMPDIR says if it is set.
func FilesInMemory() {
	flag.Parse()
	if All() || os.Getenv("TMPDIR") != "" || flag.Lookup("test.bench").Value.String() != "" {
		return
	}
	if dir := memory(); dir != "" {
		_ = os.Setenv("TMPDIR", dir)
	}
}
