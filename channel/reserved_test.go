package channel

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/transport"
)

// A key is that of who gave it, and of nobody else, whatever the two are called.
func TestAKeyIsTheClientsOwn(t *testing.T) {
	key := func(id, key string) string {
		t.Helper()
		payload, _ := json.Marshal(map[string]string{"@key": key, "text": "<hi>"})
		got, rest, err := takeKey(payload, transport.Identity{ID: id})
		if err != nil || !strings.Contains(string(rest), "text") || strings.Contains(string(rest), "@key") || store.CheckKey(got) != nil {
			t.Errorf("key %.20q of %.20q: got %q, %s, %v, want what a store takes, and the payload without it", key, id, got, rest, err)
		}
		return got
	}
	seen := map[string]bool{}
	for _, k := range []string{
		key("", "a"), key("ann", "a"), key("bob", "a"), key("an", "na"), key("anna", ""+"b"), key("ann", "ab"), key("", "anna"),
		key("ann", strings.Repeat("k", store.MaxKey)), key(strings.Repeat("i", 10_000), "a"), key(strings.Repeat("i", 10_000), "b"),
	} {
		if seen[k] {
			t.Errorf("two have the key %q", k)
		}
		seen[k] = true
	}
	for _, id := range []string{"ann", ""} {
		if first, second := key(id, "a"), key(id, "a"); first != second {
			t.Errorf("a key of %q is %q and then %q", id, first, second)
		}
	}
}

func TestMembersAreTakenOutOfWhatHasThem(t *testing.T) {
	for payload, want := range map[string]string{
		`{"@key":"k"}`:                   `{}`,
		`{"a":"<\u00e9","@key":"k"}`:     `{"a":"<\u00e9"}`,
		`{"a":1,"@key":"k","@last":3}`:   `{"@last":3,"a":1}`,
		`{"a":{"@key":"k"},"@keys":"k"}`: `{"a":{"@key":"k"},"@keys":"k"}`,
		`"@key"`:                         `"@key"`,
		`["@key"]`:                       `["@key"]`,
		`{}`:                             `{}`,
		``:                               ``,
	} {
		if _, rest, err := takeKey(json.RawMessage(payload), transport.Identity{}); err != nil || string(rest) != want {
			t.Errorf("%s: got %s, %v, want %s", payload, rest, err, want)
		}
	}
}

// What a client gives in error says what it is to give, and the log of a server tells
// nobody to look at its disk.
func TestAKeyThatIsReusedIsTheClientsMistake(t *testing.T) {
	s := store.NewMemory()
	h, r := stageOn(t, s, &scripted{}, History{Keep: 10})
	defer r.Close(0, "", Closed)
	for n, payload := range []string{`{"n":1}`, `{"n":2}`} {
		err := h.Broadcast(t.Context(), "a", "e", json.RawMessage(payload), Once("k"))
		if (n == 0) != (err == nil) || n > 0 && !errors.Is(err, store.ErrKeyReused) {
			t.Errorf("broadcast %d: got %v", n, err)
		}
	}
	if n := h.stats.Families(stats.Moment{}).Value("chime_publish_errors_total", "a", "other"); n != 0 {
		t.Errorf("got %v failed broadcasts, want none", n)
	}
}
