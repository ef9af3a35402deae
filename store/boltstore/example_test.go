package boltstore_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore"
)

func Example() {
	dir, err := os.MkdirTemp("", "chime")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "chime.db")
	ctx := context.Background()

	s, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		panic(err)
	}
	for _, text := range []string{`"one"`, `"two"`, `"three"`} {
		if _, err := s.Append(ctx, "room:1", store.Message{Event: "said", Payload: []byte(text)}, store.Retention{Keep: 1000}, nil); err != nil {
			panic(err)
		}
	}
	before := s.Epoch()
	if err := s.Close(); err != nil {
		panic(err)
	}

	// The next process goes on where this one was.
	if s, err = boltstore.Open(path, boltstore.Options{}); err != nil {
		panic(err)
	}
	defer func() { _ = s.Close() }()
	page, err := s.Read(ctx, "room:1", store.Range{After: 1})
	if err != nil {
		panic(err)
	}
	for _, m := range page.Messages {
		fmt.Printf("%d: %s\n", m.Offset, m.Payload)
	}
	fmt.Println("same epoch:", s.Epoch() == before)
	// Output:
	// 2: "two"
	// 3: "three"
	// same epoch: true
}
