package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// claimDir makes the directory of a node, if it is not there, and keeps other processes out
// of it. Name is what the other nodes know the server by that stores there: it stays with the
// directory, whatever the machine is called.
func claimDir(dir string) (name string, release func() error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, fmt.Errorf("--dir: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "node"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", nil, fmt.Errorf("--dir: %w", err)
	}
	if err := lock(f); err != nil {
		return "", nil, errors.Join(fmt.Errorf("--dir %q: %w: want a directory of this node alone", dir, err), f.Close())
	}
	text, err := io.ReadAll(f)
	if name = strings.TrimSpace(string(text)); err == nil && name == "" {
		name = rand.Text()
		_, err = f.WriteString(name + "\n")
	}
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("--dir: %w", err), f.Close())
	}
	return name, f.Close, nil
}

var errInUse = errors.New("in use by another process")
