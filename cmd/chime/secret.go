package main

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// minSecret is the fewest characters of a secret: 128 bits, in hexadecimal digits.
const minSecret = 32

// secret is what the nodes of an application know, and nobody else. What it is used for has
// a key of its own, made of it.
type secret string

// readSecret reads the secret from a file, and makes the file if there is none. Of several
// processes that make it at one time all have the secret of the first.
func readSecret(file string) (secret, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = makeSecret(file)
	}
	if err != nil {
		return "", fmt.Errorf("--secret-file: %w", err)
	}
	s := strings.TrimSpace(string(text))
	if len(s) < minSecret || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("--secret-file %q: want %d letters or digits or more, in one line, or no file, and it is made", file, minSecret)
	}
	return secret(s), nil
}

// makeSecret makes a file that is there whole or not at all.
func makeSecret(file string) ([]byte, error) {
	text := []byte(rand.Text() + rand.Text() + "\n")
	made := file + "." + rand.Text()[:8]
	if err := os.WriteFile(made, text, 0o600); err != nil {
		return nil, err
	}
	err := errors.Join(os.Link(made, file), os.Remove(made)) // a Rename would replace what another has made
	if errors.Is(err, fs.ErrExist) {
		return os.ReadFile(file)
	}
	return text, err
}

// key is for one use.
func (s secret) key(use string) []byte {
	mac := hmac.New(sha256.New, []byte(s))
	mac.Write([]byte(use))
	return mac.Sum(nil)
}

// password is a key as text.
func (s secret) password(use string) string { return hex.EncodeToString(s.key(use)) }
