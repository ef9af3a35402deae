package need

import (
	"flag"
	"strconv"
)

// Parallel has n tests at once that say t.Parallel, unless -parallel says how many. It is
// for TestMain of a package whose tests wait for much, and compute little: by default there
// are as many as there are cores, though they wait.
func Parallel(n int) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", strconv.Itoa(n))
	}
}
