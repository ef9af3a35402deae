package main

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-chime/chime"
)

const (
	maxName = 100     // bytes: a name stands in each message, and is shown to all
	nobody  = "guest" // the name of whoever has none
)

// guests are those who have said their name at the door. Nobody keeps a list of them: a
// pass says who its bearer is, and is signed. Whoever has none is an anonymous reader.
//
// An application has its own login. What counts is that it is the server that knows who
// speaks, and not what a page says of itself: there is no account here, and two guests
// may have one name, but neither can be taken for the other.
type guests struct {
	key []byte
}

// guest is the Value of an identity.
type guest struct {
	ID   string `json:"id"` // public, and nobody else's
	Name string `json:"name"`
}

// newGuests reads the key from a file, so that a pass is good after a restart, and makes
// both if there is none. Without a file, "", passes are good until this process ends. The
// key is not in the history: that is exported, copied and shown to people.
func newGuests(file string) (*guests, error) {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // never fails
	if file == "" {
		return &guests{key}, nil
	}
	kept, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		kept, err = key, replaceFile(file, key)
	case err == nil && len(kept) != len(key):
		err = fmt.Errorf("%s: %d bytes: want %d, or no file, and all say their names again", file, len(kept), len(key))
	}
	if err != nil {
		return nil, fmt.Errorf("the key of passes: %w", err)
	}
	return &guests{kept}, nil
}

// replaceFile writes a file for this user alone, which is there whole or not at all.
func replaceFile(file string, data []byte) error {
	made := file + ".new"
	if err := os.WriteFile(made, data, 0o600); err != nil {
		return err
	}
	return os.Rename(made, file)
}

// enter answers {"name":…} with a pass. It is no secret who somebody is, but the pass is.
func (g *guests) enter(w http.ResponseWriter, r *http.Request) {
	body, status, reason := readBody(w, r)
	if status != 0 {
		refuse(w, status, reason)
		return
	}
	var in struct {
		Name string `json:"name"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		refuse(w, http.StatusBadRequest, "malformed body: want {\"name\":\"…\"}")
		return
	}
	name := strings.TrimSpace(in.Name)
	if name == "" || len(name) > maxName || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
		refuse(w, http.StatusBadRequest, fmt.Sprintf("want a name of 1 to %d bytes of text", maxName))
		return
	}
	who := guest{rand.Text(), name}
	answer(w, http.StatusCreated, map[string]any{"pass": g.pass(who), "id": who.ID, "name": who.Name})
}

// pass returns the pass of who: its text and the signature, each in base64url.
func (g *guests) pass(who guest) string {
	text, _ := json.Marshal(who) // of two strings
	return base64.RawURLEncoding.EncodeToString(text) + "." + base64.RawURLEncoding.EncodeToString(g.sign(text))
}

func (g *guests) sign(text []byte) []byte {
	mac := hmac.New(sha256.New, g.key)
	mac.Write(text)
	return mac.Sum(nil)
}

// identify says who sends a request. It is called for each connect.
func (g *guests) identify(r *http.Request) (chime.Identity, error) {
	pass := chime.Token(r)
	if pass == "" {
		return chime.Identity{}, nil
	}
	text, signature, _ := strings.Cut(pass, ".")
	data, err := base64.RawURLEncoding.DecodeString(text)
	mac, macErr := base64.RawURLEncoding.DecodeString(signature)
	var who guest
	if err != nil || macErr != nil || !hmac.Equal(mac, g.sign(data)) || json.Unmarshal(data, &who) != nil {
		return chime.Identity{}, chime.RefuseConnect(http.StatusUnauthorized, "the pass is none of this server: want one of POST /enter")
	}
	return chime.Identity{ID: who.ID, Value: who}, nil
}

// bearer returns the guest of an identity; the zero one is anonymous.
func bearer(i chime.Identity) guest {
	who, _ := i.Value.(guest)
	return who
}
