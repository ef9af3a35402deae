package wire_test

import (
	"strings"
	"testing"

	"github.com/go-chime/chime/internal/leak"
	"github.com/go-chime/chime/internal/wire"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestCountedAreAllTopicsButThoseOfTheConnection(t *testing.T) {
	for topic, want := range map[string]bool{
		"chime": false, "phoenix": false,
		"room:1": true, "chime:1": true, "Chime": true, "": true,
	} {
		if got := wire.Counted(topic); got != want {
			t.Errorf("Counted(%q): got %v, want %v", topic, got, want)
		}
	}
}

func TestValidName(t *testing.T) {
	tests := []struct {
		name, s string
		want    bool
	}{
		{"a topic", "chat_room:42", true},
		{"one byte", "x", true},
		{"spaces and punctuation", " a,b\"c\\{*} ", true},
		{"other scripts", "комната:日本語🎈", true},
		{"no-break space", "a\u00a0b", true},
		{"255 bytes", strings.Repeat("x", 255), true},
		{"empty", "", false},
		{"256 bytes", strings.Repeat("x", 256), false},
		{"128 runes of 2 bytes", strings.Repeat("é", 128), false},
		{"NUL", "a\x00b", false},
		{"LF", "a\nb", false},
		{"CR", "a\rb", false},
		{"tab", "a\tb", false},
		{"escape", "\x1b[31m", false},
		{"DEL", "a\x7fb", false},
		{"NEL", "a\u0085b", false},
		{"last of the C1 controls", "a\u009fb", false},
		{"line separator", "a\u2028b", false},
		{"paragraph separator", "a\u2029b", false},
		{"invalid UTF-8", "a\xffb", false},
		{"half a rune", "日本"[:4], false},
		{"a surrogate in UTF-8", "\xed\xa0\x80", false},
		{"the replacement character itself", "a\ufffdb", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := wire.ValidName(tt.s); got != tt.want {
				t.Errorf("ValidName(%q): got %v, want %v", tt.s, got, tt.want)
			}
		})
	}
}

func TestRef(t *testing.T) {
	var null wire.Ref
	if !null.Null() || null.String() != "" {
		t.Errorf("the zero Ref: got Null %v and %q, want true and none", null.Null(), null.String())
	}
	if r := wire.RefOf(""); r.Null() || r == null {
		t.Error("an empty ref: got null, want a ref without text")
	}
	if r := wire.RefOf("7"); r.Null() || r.String() != "7" || r != wire.RefOf("7") {
		t.Errorf("RefOf(7): got %v, want one that equals another", r)
	}
}
