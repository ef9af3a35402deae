package testing

import (
	"testing"

	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		s := store.NewMemory() // yours
		t.Cleanup(func() { _ = s.Close() })
		return s
	})
}
