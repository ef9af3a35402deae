package boltfile

import (
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/go-chime/chime/store/boltstore/internal/tree"
)

// Report is what [Verify] found in a file.
type Report = tree.Report

// Verify reads all of a file and compares it with itself: that its pages hang
// together, that each topic has the messages that it should, and the checksums. It
// changes nothing, and can't be used on a file that is open elsewhere. The error
// holds what is wrong, of many faults the first ten.
func Verify(path string) (r Report, err error) {
	f, err := openReadOnly(path)
	if err == nil {
		err = errors.Join(f.View(func(tx *bolt.Tx) error {
			r, err = tree.Verify(tx)
			return err
		}), f.Close())
	}
	if err != nil {
		return r, fmt.Errorf("verify history: %w", err)
	}
	return r, nil
}
