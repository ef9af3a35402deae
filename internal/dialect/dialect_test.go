package dialect

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestWhatAWebSocketSpeaks(t *testing.T) {
	for _, test := range []struct {
		query   string
		offered []string // Sec-WebSocket-Protocol, a header each
		want    *Dialect // nil is refused
		echo    string
	}{
		{"vsn=2.0.0", nil, &phoenixV2, ""},
		{"vsn=2.0.1", nil, &phoenixV2, ""},
		{"vsn=1.0.0", nil, &phoenixV1, ""},
		{"", nil, &phoenixV1, ""},
		{"vsn=2", nil, nil, ""},
		{"vsn=3.0.0", nil, nil, ""},
		{"vsn=20.0.0", nil, nil, ""},
		{"vsn=two", nil, nil, ""},
		{"vsn=2.0.0", []string{"phoenix"}, &phoenixV2, "phoenix"},
		{"vsn=2.0.0", []string{"phoenix, base64url.bearer.phx.QWRh"}, &phoenixV2, "phoenix"},
		{"vsn=2.0.0", []string{"base64url.bearer.phx.QWRh", "phoenix"}, &phoenixV2, "phoenix"},
		{"vsn=2.0.0", []string{"base64url.bearer.phx.QWRh"}, &phoenixV2, ""},
		{"vsn=2.0.0", []string{"graphql-ws"}, nil, ""},
		{"vsn=2.0.0", []string{"graphql-ws, phoenix"}, &phoenixV2, "phoenix"},
		{"", []string{"chime.v1"}, &Chime, "chime.v1"},
		{"vsn=2.0.0", []string{"chime.v1"}, &Chime, "chime.v1"},
		{"", []string{"chime.v1,chime.secret.abc , base64url.bearer.phx.QWRh"}, &Chime, "chime.v1"},
		{"", []string{"phoenix", "chime.v1"}, &Chime, "chime.v1"},
		{"", []string{"chime.v2"}, nil, ""},
		{"", []string{"CHIME.V1"}, nil, ""},
	} {
		r := get(test.query)
		for _, value := range test.offered {
			r.Header.Add("Sec-WebSocket-Protocol", value)
		}
		d, reason := Of(r)
		if d != test.want || (d == nil) == (reason == "") {
			t.Errorf("%q %q: got %v and reason %q, want %v", test.query, test.offered, name(d), reason, name(test.want))
			continue
		}
		if d != nil {
			if got := strings.Join(d.Echo(r), " "); got != test.echo {
				t.Errorf("%q %q: got %q echoed, want %q", test.query, test.offered, got, test.echo)
			}
		}
	}
}

func name(d *Dialect) string {
	if d == nil {
		return "refused"
	}
	return d.Name
}

func TestTokenInASubprotocol(t *testing.T) {
	const token = "a?b>c~ÿ" // differs in the two alphabets, and needs padding
	for _, test := range []struct {
		name   string
		header []string
		want   string
	}{
		{"none", nil, ""},
		{"URL's alphabet", []string{protocolToken + base64.RawURLEncoding.EncodeToString([]byte(token))}, token},
		{"standard alphabet", []string{protocolToken + base64.RawStdEncoding.EncodeToString([]byte(token))}, token},
		{"URL's, padded", []string{protocolToken + base64.URLEncoding.EncodeToString([]byte(token))}, token},
		{"standard, padded", []string{protocolToken + base64.StdEncoding.EncodeToString([]byte(token))}, token},
		{"among others", []string{"phoenix", "x, " + protocolToken + "QWRh , y"}, "Ada"},
		{"garbage", []string{protocolToken + "!!!"}, ""},
		{"garbage before one", []string{protocolToken + "!!!, " + protocolToken + "QWRh"}, "Ada"},
		{"an odd character", []string{protocolToken + "QWRhQ"}, ""},
		{"padding only", []string{protocolToken + "===="}, ""},
		{"empty", []string{protocolToken}, ""},
		{"not quite the prefix", []string{"base64url.bearer.QWRh"}, ""},
	} {
		r := get("")
		for _, value := range test.header {
			r.Header.Add("Sec-WebSocket-Protocol", value)
		}
		if got := Token(r); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

func get(query string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/websocket", nil)
	r.URL.RawQuery = query
	return r
}
