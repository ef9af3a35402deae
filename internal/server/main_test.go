package server_test

import (
	"testing"

	"github.com/go-chime/chime/internal/leak"
	"github.com/go-chime/chime/internal/need"
)

func TestMain(m *testing.M) {
	need.Parallel(6)
	leak.Main(m)
}
