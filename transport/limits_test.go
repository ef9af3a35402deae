package transport

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// anybody is the configuration of a server that nobody comes to.
var anybody = Config{
	Connect: func(*http.Request) (Identity, error) { return Identity{}, nil },
	Accept:  func(ClientSocket) Receiver { return deaf{} },
}

func TestLimitsThatAreNotSaidAreTheDefault(t *testing.T) {
	defaults := Limits{64 << 10, 256 << 10, 100, 1 << 20, 4096, 100, 512, 256 << 10, 1024}
	if got := (Limits{}).WithDefaults(); got != defaults {
		t.Errorf("none: got %+v, want %+v", got, defaults)
	}
	all := Limits{1, 2, 3, 4, 5, 6, 7, 8, 9}
	if got := all.WithDefaults(); got != all {
		t.Errorf("all: got %+v, want %+v", got, all)
	}
	want := defaults
	want.Topics = 9
	if got := (Limits{Topics: 9}).WithDefaults(); got != want {
		t.Errorf("one: got %+v, want %+v", got, want)
	}
	want = defaults
	want.MessageBytes, want.BatchBytes = 1<<20, 1<<20+128
	if got := (Limits{MessageBytes: 1 << 20}).WithDefaults(); got != want {
		t.Errorf("large messages: got %+v, want %+v, in which one goes into a POST", got, want)
	}
}

func TestLimitsThatCannotBeMeantAreNamed(t *testing.T) {
	for name, l := range map[string]Limits{
		"":                               {},
		"limit Topics is -1: ":           {Topics: -1},
		"limit UnackedMessages is -7: ":  {UnackedMessages: -7},
		"limit BatchBytes is 65663: ":    {BatchBytes: 65663},
		"limit BatchBytes is 100: ":      {BatchBytes: 100, MessageBytes: 50},
		"limit BatchMessages is -1: ":    {BatchBytes: 100, BatchMessages: -1},
		"a server needs Connect":         {BatchBytes: 65664},
		"a server needs Connect and Acc": {MessageBytes: 10, BatchBytes: 138},
	} {
		err := l.Check()
		if strings.HasPrefix(name, "limit") != (err != nil) || err != nil && !strings.HasPrefix(err.Error(), name) {
			t.Errorf("%+v: got %v, want %q", l, err, name)
		}
		if _, err := NewServer(Config{Limits: l}); err == nil || !strings.HasPrefix(err.Error(), name) {
			t.Errorf("NewServer with %+v: got %v, want %q", l, err, name)
		}
	}
}

func TestHelloSaysWhatAClientMustKnow(t *testing.T) {
	cfg := anybody
	cfg.Limits = Limits{MessageBytes: 1000, Topics: 9}
	s, err := NewServer(cfg)
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
