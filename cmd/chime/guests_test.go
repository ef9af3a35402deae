package main

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-chime/chime/store"
)

func TestAPassSaysWhoItsBearerIs(t *testing.T) {
	kept := store.NewMemory()
	defer kept.Close()
	door, err := newGuests(kept)
	if err != nil {
		t.Fatal(err)
	}
	again, err := newGuests(kept) // as after a restart
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
