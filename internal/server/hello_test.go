package server

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/go-chime/chime/transport"
)

// anybody is the configuration of a server that nobody comes to.
var anybody = Config{
	Connect: func(*http.Request) (transport.Identity, error) { return transport.Identity{}, nil },
	Accept:  func(transport.ClientSocket) transport.Receiver { return deaf{} },
}

func TestAServerThatCannotBeIsRefused(t *testing.T) {
	limits := transport.Limits{Topics: -1}
	if _, err := New(Config{Limits: limits}); err == nil || err.Error() != limits.Check().Error() {
		t.Errorf("negative limit: got %v, want %v", err, limits.Check())
	}
	const want = "a server needs Connect"
	if _, err := New(Config{}); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("empty Config: got %v, want %q", err, want)
	}
}

func TestHelloSaysWhatAClientMustKnow(t *testing.T) {
	cfg := anybody
	cfg.Limits = transport.Limits{MessageBytes: 1000, Topics: 9}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c := &client{}
	s.initClient(c, get(""), caller{chime: true})
	text := string(s.hello(c, c.secret, false).AppendText(nil, true, ""))
	want := `[null,null,"chime","hello",{"id":"` + c.id + `","secret":"` + c.secret + `","heartbeat_ms":15000,"grace_ms":15000,` +
		`"limits":{"message_bytes":1000,"batch_bytes":262144,"batch_messages":100,"topics":9},` +
		`"transports":["websocket","sse"],"resumed":false,"received":0,"sent":0}]`
	if text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	if !json.Valid([]byte(text)) || len(c.secret) < 22 || strings.Contains(c.secret, c.id) {
		t.Errorf("id %q and secret %q: want a secret of 128 bits at least, and JSON", c.id, c.secret)
	}
	other := &client{}
	s.initClient(other, get(""), caller{chime: true})
	if other.id == c.id || other.secret == c.secret {
		t.Error("two clients have the same id or secret")
	}
}
