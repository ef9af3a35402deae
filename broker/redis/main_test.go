package redis

import (
	"testing"

	"github.com/go-chime/chime/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }
