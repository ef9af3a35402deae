package boltstore

import (
	"path/filepath"
	"testing"

	"github.com/go-chime/chime/store"
)

func TestAStoreTellsItsNumbers(t *testing.T) {
	s := opened(t, filepath.Join(t.TempDir(), "chime.db"))
	before := s.Stats()
	if before.Commits != 0 || before.Topics != 0 || before.Bytes == 0 || before.MaxBytes != defaultMaxBytes || before.MaxTopics != defaultMaxTopics {
		t.Errorf("at first: got %+v", before)
	}
	for _, topic := range []string{"a", "b"} {
		if _, err := s.Append(t.Context(), topic, store.Message{Payload: make([]byte, 1<<20)}, store.Retention{Keep: 1}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.Stats(); got.Commits != 2 || got.CommitTime <= 0 || got.Topics != 2 || got.Bytes < before.Bytes+2<<20 {
		t.Errorf("with two messages of 1 MiB: got %+v, before %+v", got, before)
	}
}
