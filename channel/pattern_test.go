package channel

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestPatternMatches(t *testing.T) {
	for _, test := range []struct {
		pattern, topic string
		want           []string // nil: no match
	}{
		{"lobby", "lobby", []string{}},
		{"lobby", "lobby:1", nil},
		{"lobby", "lobb", nil},
		{"room:1", "room:1", []string{}},
		{"room:1", "room:10", nil},
		{"room:{id}", "room:42", []string{"42"}},
		{"room:{id}", "room:é☃", []string{"é☃"}},
		{"room:{id}", "room:", nil},
		{"room:{id}", "room", nil},
		{"room:{id}", "room:42:x", nil},
		{"room:{id}", "hall:42", nil},
		{"room:{id}:{part}", "room:1:2", []string{"1", "2"}},
		{"room:{id}:{part}", "room::2", nil},
		{"{a}", "x", []string{"x"}},
		{"{a}:b", "x:b", []string{"x"}},
		{"{a}:b", "x:c", nil},
		{"room:*", "room:1", []string{"1"}},
		{"room:*", "room:1:2:3", []string{"1:2:3"}},
		{"room:*", "room:", nil},
		{"room:*", "room", nil},
		{"room:a*", "room:abc:d", []string{"bc:d"}},
		{"room:a*", "room:a", nil},
		{"room:a*", "room:b", nil},
		{"room:{id}:*", "room:1:x:y", []string{"1", "x:y"}},
		{"room:{id}:*", "room:1", nil},
		{"*", "anything:at:all", []string{"anything:at:all"}},
	} {
		p, err := parsePattern(test.pattern)
		if err != nil {
			t.Errorf("%q: %v", test.pattern, err)
			continue
		}
		if ok := p.match(test.topic); ok != (test.want != nil) {
			t.Errorf("%q for %q: got %t, want %q", test.pattern, test.topic, ok, test.want)
		}
		if test.want == nil {
			continue
		}
		got := p.params(test.topic)
		if !slices.Equal(got, test.want) {
			t.Errorf("%q for %q: got %q, want %q", test.pattern, test.topic, got, test.want)
		}
		if len(got) != len(p.names()) {
			t.Errorf("%q: got %d values for the names %q", test.pattern, len(got), p.names())
		}
	}
}

func TestPatternMistakes(t *testing.T) {
	for pattern, want := range map[string]string{
		"":                       "want 1 to 255 bytes",
		strings.Repeat("a", 256): "want 1 to 255 bytes",
		"room:\n":                "without control characters",
		"chime":                  "want another topic than chime and phoenix",
		"phoenix":                "want another topic than chime and phoenix",
		"room:{id":               "unclosed {",
		"room:{id:[0-9]+}":       "{id:[0-9]+}: a {name} has no rule, as it has in chi: want {id}",
		"/room/{id}":             "it is a path: want the parts of a topic between colons: room:{id}",
		"room:{}":                "want a name between the braces",
		"room:{a{b}":             "want a name between the braces",
		"room:{*}":               "want a name between the braces",
		"room:{id}x":             "whole segment",
		"room:{id}*":             "whole segment",
		"room:x{id}":             "whole segment",
		"room:id}":               "whole segment",
		"room:*x":                "* at the end only",
		"*:room":                 "* at the end only",
		"room:**":                "* at the end only",
		"room:{id}:{id}":         "{id} twice: want each name once",
	} {
		if _, err := parsePattern(pattern); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", pattern, err, want)
		}
	}
}

// The most specific pattern serves a topic, in whatever order they were added.
func TestTheMostSpecificWins(t *testing.T) {
	serves := map[string]string{
		"room:1":       "room:1",
		"room:2":       "room:{id}",
		"room:abc":     "room:{id}",
		"room:abc:x":   "room:{id}:x", // one segment for {id} says more than a * for several
		"room:z:y":     "room:{id}:{part}",
		"room:1:x":     "room:1:{part}",
		"room:z:y:z":   "room:{id}:*",
		"room:ab:":     "room:ab*",
		"room:ac:":     "room:a*",
		"room:::":      "room:*",
		"hall:1":       "{kind}:1",
		"hall:2":       "{kind}:{id}",
		"hall:2:a":     "ha*",
		"stairs:2:a:b": "*",
		"lobby":        "lobby",
		"attic":        "{kind}",
	}
	patterns := []string{"room:1", "room:{id}", "room:*", "room:ab*", "room:a*", "room:{id}:x", "room:{id}:{part}", "room:1:{part}",
		"room:{id}:*", "{kind}:1", "{kind}:{id}", "ha*", "*", "lobby", "{kind}"}
	for range 200 {
		rand.Shuffle(len(patterns), func(i, j int) { patterns[i], patterns[j] = patterns[j], patterns[i] })
		var rs routes
		for _, text := range patterns {
			p, err := parsePattern(text)
			if err != nil {
				t.Fatal(err)
			}
			if err := rs.add(&route{pattern: p}); err != nil {
				t.Fatalf("%q, in the order %q: %v", text, patterns, err)
			}
		}
		for topic, want := range serves {
			r := rs.match(topic)
			if r == nil || r.pattern.text != want {
				t.Fatalf("%q, added in the order %q: got %v, want %q", topic, patterns, r, want)
			}
		}
	}
}

func TestEqualPatternsAreAMistake(t *testing.T) {
	for _, pair := range [][2]string{
		{"room:1", "room:1"}, {"room:{id}", "room:{name}"}, {"*", "*"}, {"{a}:x*", "{b}:x*"}, {"{a}:{b}", "{b}:{a}"},
	} {
		var rs routes
		for i, text := range pair {
			p, err := parsePattern(text)
			if err != nil {
				t.Fatal(err)
			}
			if err = rs.add(&route{pattern: p}); (err != nil) != (i == 1) {
				t.Errorf("%q, then %q: got %v for the %q", pair[0], pair[1], err, text)
			}
		}
	}
}

func TestTheNearestPatternIsNamed(t *testing.T) {
	var rs routes
	for _, text := range []string{"chat_room:{id}", "user:{id}:orders", "lobby", "file:*"} {
		r, err := newRoute(text, open{}, nil)
		if err == nil {
			err = rs.add(r)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for topic, want := range map[string]string{
		"chatroom:42": "chat_room:{id}", "chat_room": "chat_room:{id}", "users:7:orders": "user:{id}:orders",
		"Lobby:": "lobby", "files:a:b:c": "file:*",
	} {
		if got := rs.nearest(topic); got != want {
			t.Errorf("%q: got %q, want %q", topic, got, want)
		}
	}
	if got := new(routes).nearest("a"); got != "" {
		t.Errorf("without patterns: got %q", got)
	}
}
