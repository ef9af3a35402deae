// Package networks_test is what docs/networks.md shows.
package networks_test

import (
	"net/http/httptest"
	"testing"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/transport/transporttest"
)

func TestMyClientGetsThrough(t *testing.T) {
	server := httptest.NewServer(chime.NewRouter(chime.WithAnonymous())) // yours
	defer server.Close()
	for _, network := range transporttest.Networks() {
		t.Run(network.Name, func(t *testing.T) {
			box := network.Faster(10).Start(server.URL) // its times are a tenth
			defer box.Close()
			_ = box.URL // where your client connects to
		})
	}
}
