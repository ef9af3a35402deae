package origin

import (
	"net/http"
	"strings"
	"testing"
)

func TestWhereARequestMayComeFrom(t *testing.T) {
	named := []string{"https://app.example.com", "http://dev.example.com:3000", "Partner.example.org", "other.example.org:8443", "app://desktop"}
	o, err := Parse(named)
	if err != nil {
		t.Fatal(err)
	}
	const none = "(none)"
	for _, test := range []struct {
		host, origin, site string
		want               bool
	}{
		// Without Sec-Fetch-Site: none at all, or the same host.
		{"live.example.com", none, none, true},
		{"live.example.com", "https://live.example.com", none, true},
		{"live.example.com", "http://live.example.com", none, true},
		{"live.example.com", "https://LIVE.example.COM", none, true},
		{"LIVE.example.com", "https://live.example.com", none, true},
		{"live.example.com:8080", "http://live.example.com:8080", none, true},
		{"live.example.com:8080", "http://live.example.com", none, false},
		{"live.example.com", "http://live.example.com:8080", none, false},
		{"live.example.com", "https://evil.example.com", none, false},
		{"live.example.com", "https://live.example.com.evil.example", none, false},
		{"live.example.com", "https://evil.example/live.example.com", none, false},
		{"live.example.com", "https://live.example.com@evil.example", none, false},
		{"live.example.com", "null", none, false},
		{"live.example.com", "NULL", none, false},
		{"live.example.com", "live.example.com", none, false},
		{"live.example.com", "https://", none, false},
		{"live.example.com", "://live.example.com", none, false},
		{"live.example.com", "https://live.example.com:x", none, false},
		{"live.example.com", "%", none, false},
		{"live.example.com", " ", none, false},
		{"", "null", none, false},
		{"", "https://", none, false},
		{"", "https://:443", none, false},
		{"[::1]:4000", "http://[::1]:4000", none, true},
		// Named ones.
		{"live.example.com", "https://app.example.com", none, true},
		{"live.example.com", "https://APP.example.com", none, true},
		{"live.example.com", "http://app.example.com", none, false},
		{"live.example.com", "https://app.example.com:8443", none, false},
		{"live.example.com", "https://sub.app.example.com", none, false},
		{"live.example.com", "http://dev.example.com:3000", none, true},
		{"live.example.com", "http://dev.example.com", none, false},
		{"live.example.com", "https://partner.example.org", none, true},
		{"live.example.com", "http://partner.example.org", none, true},
		{"live.example.com", "http://partner.example.org:81", none, false},
		{"live.example.com", "https://other.example.org:8443", none, true},
		{"live.example.com", "https://other.example.org", none, false},
		{"live.example.com", "app://desktop", none, true},
		// A browser that has compared.
		{"live.example.com", none, "same-origin", true},
		{"live.example.com", "https://live.example.com", "same-origin", true},
		{"inner", "https://live.example.com", "same-origin", true}, // a proxy changes Host
		{"live.example.com", "https://live.example.com", "cross-site", false},
		{"live.example.com", "https://live.example.com", "same-site", false},
		{"live.example.com", none, "cross-site", false},
		{"live.example.com", none, "same-site", false},
		{"live.example.com", "null", "cross-site", false},
		{"live.example.com", "https://app.example.com", "cross-site", true},
		{"live.example.com", "https://app.example.com", "same-site", true},
		{"live.example.com", "https://evil.example.com", "same-site", false},
		// Opened by the user, or a value of the future: Origin decides.
		{"live.example.com", none, "none", true},
		{"live.example.com", "https://evil.example.com", "none", false},
		{"live.example.com", "https://evil.example.com", "Same-Origin", false},
		{"live.example.com", "https://live.example.com", "same-planet", true},
		{"live.example.com", "https://evil.example.com", "same-planet", false},
	} {
		r := &http.Request{Host: test.host, Header: http.Header{}}
		if test.origin != none {
			r.Header.Set("Origin", test.origin)
		}
		if test.site != none {
			r.Header.Set("Sec-Fetch-Site", test.site)
		}
		if got := o.Allow(r); got != test.want {
			t.Errorf("Host %q, Origin %q, Sec-Fetch-Site %q: got %v, want %v", test.host, test.origin, test.site, got, test.want)
		}
	}
}

// A browser leaves out the port that its scheme has anyway.
func TestADefaultPortMayBeNamed(t *testing.T) {
	for _, test := range []struct {
		named, origin string
		want          bool
	}{
		{"https://app.example.com:443", "https://app.example.com", true},
		{"http://app.example.com:80", "http://app.example.com", true},
		{"https://app.example.com", "https://app.example.com:443", true},
		{"https://app.example.com:80", "https://app.example.com", false},
		{"http://app.example.com:443", "http://app.example.com", false},
		{"https://[::1]:443", "https://[::1]", true},
		{"app.example.com:443", "https://app.example.com", true},
		{"app.example.com:443", "http://app.example.com", false},
		{"app.example.com:80", "http://app.example.com", true},
		{"app.example.com:80", "https://app.example.com", false},
	} {
		o, err := Parse([]string{test.named})
		if err != nil {
			t.Fatal(err)
		}
		r := &http.Request{Host: "live.example.com", Header: http.Header{"Origin": {test.origin}}}
		if got := o.Allow(r); got != test.want {
			t.Errorf("%s of a page of %s: got %v, want %v", test.named, test.origin, got, test.want)
		}
	}
}

func TestOriginsThatCannotBeRead(t *testing.T) {
	for _, bad := range []string{
		"", "https://", "https://app.example.com/", "https://app.example.com/chat", "app.example.com/chat", "https://app.example.com?x=1",
		"https://app.example.com#top", "https://ada@app.example.com", "*", "https://*", "https://*.example.com", "*.example.com",
		"https://app.example.com:port", "https://app example.com", "https://:443", ":443", "//app.example.com", "https:/app.example.com",
		"https://[::1", "%zz", "wss://app.example.com", "ws://app.example.com",
	} {
		_, err := Parse([]string{"https://app.example.com", bad})
		if err == nil {
			t.Errorf("%q: got no error", bad)
		} else if !strings.HasPrefix(err.Error(), `origin "`) {
			t.Errorf("%q: got %q, want the origin named", bad, err)
		}
	}
	if _, err := Parse(nil); err != nil {
		t.Errorf("none: got %v", err)
	}
}
