// Package dialect_test speaks to a Router as the clients of Phoenix and of Amber do,
// byte by byte.
package dialect_test

import (
	"testing"

	"github.com/go-chime/chime/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }
