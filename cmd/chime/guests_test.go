package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// door is one whose passes are good until the end of the test.
func door(t *testing.T) *guests {
	t.Helper()
	g, err := newGuests("")
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestTheKeyOfPassesIsForOneUserAlone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "chime.db.key")
	if _, err := newGuests(file); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("got %v and error %v, want the mode 0600", info, err)
	}
	if list, _ := os.ReadDir(filepath.Dir(file)); len(list) != 1 {
		t.Errorf("got files %v, want the key", list)
	}
	if err := os.Truncate(file, 31); err != nil {
		t.Fatal(err)
	}
	if _, err := newGuests(file); err == nil || !strings.Contains(err.Error(), file+": 31 bytes: want 32") {
		t.Errorf("of another length: got %v, want an error that says so", err)
	}
	nowhere := filepath.Join(filepath.Dir(file), "none", "key")
	if _, err := newGuests(nowhere); err == nil || !strings.Contains(err.Error(), nowhere) {
		t.Errorf("got %v, want an error that names %s", err, nowhere)
	}
}

// What people are given of a history must not let them speak as somebody else.
func TestTheKeyOfPassesIsInNoExport(t *testing.T) {
	db := filepath.Join(t.TempDir(), "chime.db")
	s := startServe(t, "127.0.0.1:0", db)
	pass, who := enter(t, s.url, "Ann")
	ann := connect(t, s.url, pass)
	ann.join("lobby")
	ann.send("lobby", "message_new", `{"message":"hello","id":"1"}`)
	ann.want("message_new", fmt.Sprintf(`{"name":"Ann","by":%q,"message":"hello","id":"1"}`, who.ID))
	s.wantStop(t)
	key, err := os.ReadFile(db + ".key")
	if err != nil {
		t.Fatal(err)
	}
	lines := mustHistory(t, "export", db)
	if strings.Count(lines, "\n") != 1 || !strings.Contains(lines, "hello") || strings.Contains(lines, base64.StdEncoding.EncodeToString(key)) {
		t.Errorf("got %s, want what was said and nothing else", lines)
	}
	if data, err := os.ReadFile(db); err != nil || bytes.Contains(data, key) {
		t.Errorf("the history file has the key, or error %v", err)
	}
}

func TestAPassSaysWhoItsBearerIs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "chime.db.key")
	door, err := newGuests(file)
	if err != nil {
		t.Fatal(err)
	}
	again, err := newGuests(file) // as after a restart
	if err != nil {
		t.Fatal(err)
	}
	ann := guest{"a1", "Ann"}
	pass := door.pass(ann)
	for _, g := range []*guests{door, again} {
		r := httptest.NewRequest(http.MethodGet, "/socket/sse", nil)
		r.Header.Set("Authorization", "Bearer "+pass)
		if who, err := g.identify(r); err != nil || who.ID != "a1" || bearer(who) != ann {
			t.Errorf("got %+v and error %v, want Ann", who, err)
		}
	}
	text, signature, _ := strings.Cut(pass, ".")
	bob, err := json.Marshal(guest{"a1", "Bob"})
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"of another server":    (&guests{make([]byte, 32)}).pass(ann),
		"with another name":    base64.RawURLEncoding.EncodeToString(bob) + "." + signature,
		"without a signature":  text,
		"with an empty one":    text + ".",
		"with more behind it":  pass + ".x",
		"that is no base64url": "é." + signature,
		"cut":                  pass[:len(pass)-1],
	} {
		r := httptest.NewRequest(http.MethodGet, "/socket/sse", nil)
		r.Header.Set("Authorization", "Bearer "+bad)
		if who, err := door.identify(r); err == nil {
			t.Errorf("a pass %s: got %+v, want a refusal", name, who)
		}
	}
	if who, err := door.identify(httptest.NewRequest(http.MethodGet, "/socket/sse", nil)); err != nil || who.ID != "" {
		t.Errorf("without a pass: got %+v and error %v, want an anonymous one", who, err)
	}
}

func TestTheDoorRefuses(t *testing.T) {
	url := openSite(t)
	for body, want := range map[string]int{
		`{"name":"Ann"}`:   http.StatusCreated,
		`{"name":" Ann "}`: http.StatusCreated,
		`{"name":"` + strings.Repeat("é", 50) + `"}`:  http.StatusCreated,
		`{"name":"x` + strings.Repeat("é", 50) + `"}`: http.StatusBadRequest,
		`{"name":""}`:              http.StatusBadRequest,
		`{"name":"  "}`:            http.StatusBadRequest,
		`{"name":"a\nb"}`:          http.StatusBadRequest,
		`{"name":7}`:               http.StatusBadRequest,
		`{}`:                       http.StatusBadRequest,
		`Ann`:                      http.StatusBadRequest,
		"{\"name\":\"A\xffnn\"}":   http.StatusBadRequest,
		strings.Repeat(" ", 1<<17): http.StatusRequestEntityTooLarge,
	} {
		resp, err := http.Post(url+"/enter", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%.40q: got %s, want %d", body, resp.Status, want)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}
