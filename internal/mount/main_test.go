// Package mount_test sets a Router up in an application: its options and patterns,
// where it is mounted, behind which middleware, over which version of HTTP, and what
// each of its endpoints answers.
package mount_test

import (
	"testing"

	"github.com/go-chime/chime/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }
