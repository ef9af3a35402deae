package mount_test

import (
	"strings"
	"testing"

	"github.com/go-chime/chime"
)

func TestWhereANodeIsMustBeAHost(t *testing.T) {
	for _, at := range []string{"", "10.0.0.7:4000", "ftp://10.0.0.7", "http://10.0.0.7/socket", "http://u:p@10.0.0.7", "http://10.0.0.7?x", "http://"} {
		func() {
			defer func() {
				if text, _ := recover().(string); !strings.Contains(text, "WithNode") {
					t.Errorf("%q: got the panic %q, want one that names WithNode", at, text)
				}
			}()
			chime.WithNode("", at)
		}()
	}
	for _, at := range []string{"http://10.0.0.7:4000", "https://node.example/", "http://[::1]:4000"} {
		chime.WithNode("a", at)
	}
}
