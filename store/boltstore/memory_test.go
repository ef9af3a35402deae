package boltstore

import (
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/go-chime/chime/store"
)

// A topic that is known takes room in the file alone: what a server has ever heard of
// must not add up in memory.
func TestKnownTopicsTakeNoMemory(t *testing.T) {
	const writers, each = 256, 40
	s := begun(t)
	before := heap()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				topic := fmt.Sprintf("chat_room:%024d", w*each+i)
				if _, err := s.Append(t.Context(), topic, store.Message{Event: "e"}, store.Retention{Keep: 10}, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	const most = 100 // bytes a topic, most of them bbolt's for the pages that it wrote
	if got := (heap() - before) / (writers * each); got > most {
		t.Errorf("got %d bytes of memory for each topic, want at most %d", got, most)
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
