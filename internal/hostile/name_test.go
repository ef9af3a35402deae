package hostile_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/go-chime/chime/internal/raw"
)

// badNames can be neither topics nor events.
var badNames = map[string]string{
	"10 kB":                 strings.Repeat("x", 10_000),
	"256 bytes":             strings.Repeat("x", 256),
	"an LF":                 "x\ny",
	"a CR":                  "x\ry",
	"an event":              "x\n\ndata: forged\n\n",
	"a NUL":                 "x\x00",
	"a tab":                 "x\ty",
	"an escape sequence":    "\x1b[2Jx",
	"DEL":                   "x\x7f",
	"a C1 control":          "x\u0085y",
	"a line separator":      "x\u2028y",
	"a paragraph separator": "x\u2029y",
}

func TestBadTopicIsUnmatched(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
	ws := s.Phoenix(t)
	for name, bad := range badNames {
		t.Run(name, func(t *testing.T) {
			topic := jsonString("hall:" + bad)
			unmatched := topic + `,"phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`
			ws.Text(`["1","1",` + topic + `,"phx_join",{}]`)
			ws.Want(`[null,"1",` + unmatched)
			ws.Text(`["1","2",` + topic + `,"say",{}]`)
			ws.Want(`[null,"2",` + unmatched)
			ws.Text(`["1","3",` + topic + `,"phx_leave",{}]`)
			ws.Want(`["1","3",` + topic + `,"phx_reply",{"status":"ok","response":{}}]`)
			es := s.Bare(t, "join="+url.QueryEscape("hall:"+bad))
			es.Want(`[null,"1",` + unmatched)
			w.IsWell()
		})
	}
	t.Run("no UTF-8", func(t *testing.T) { // only a URL can say this: a frame is checked before
		es := s.Bare(t, "join=hall:%ff")
		es.Want(`[null,"1","hall:\ufffd","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`)
		w.IsWell()
	})
	t.Run("255 bytes are allowed", func(t *testing.T) {
		ws.Join("hall:"+strings.Repeat("x", 250), "somebody")
	})
	s.Hall.WantNobodyLeft(t)
}

func jsonString(s string) string {
	text, _ := json.Marshal(s) // a string always encodes
	return string(text)
}

func TestBadEventIsRefusedAndReachesNoHandler(t *testing.T) {
	s := raw.NewSite(t)
	w := s.Witness(t)
	ws := s.Phoenix(t).Join("hall:1", "attacker")
	for name, bad := range badNames {
		t.Run(name, func(t *testing.T) {
			ws.Text(`["1","2","hall:1",` + jsonString(bad) + `,{}]`)
			ws.Want(`["1","2","hall:1","phx_reply",{"status":"error","response":{"reason":"invalid event"}}]`)
			w.IsWell()
			ws.Want(raw.Tick(w.N))
		})
	}
	for _, reserved := range []string{"", "phx_reply", "phx_error", "phx_close", "phx_anything"} {
		ws.Text(`["1","3","hall:1","` + reserved + `",{}]`)
		ws.Want(`["1","3","hall:1","phx_reply",{"status":"error","response":{"reason":"invalid event"}}]`)
	}
	w.IsWell()
	s.Hall.WantNobodyLeft(t)
}

// TestTopicsOfTheConnectionAreNobodysToJoin: frames on them tell chime.js what
// the server wants, even where a pattern matches everything.
func TestTopicsOfTheConnectionAreNobodysToJoin(t *testing.T) {
	s := raw.NewSite(t)
	s.Live.Channel("*", s.Hall)
	w := s.Witness(t)
	ws := s.Phoenix(t)
	for _, topic := range []string{"chime", "phoenix"} {
		ws.Text(`["1","1","` + topic + `","phx_join",{"as":"attacker"}]`)
		ws.Want(`[null,"1","` + topic + `","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`)
		es := s.Bare(t, "join="+topic)
		es.Want(`[null,"1","` + topic + `","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`)
		if err := s.Live.Broadcast(t.Context(), topic, "drain", nil); err == nil {
			t.Errorf("Broadcast to %s: got no error", topic)
		}
	}
	cs, _ := s.Chime(t)
	cs.Text(`["1","1","chime","phx_join",{}]`) // not for the channels, and no frame to answer
	cs.Text(`[null,"2","phoenix","heartbeat",{}]`)
	cs.Want(`[null,"2","phoenix","phx_reply",{"status":"ok","response":{}}]`)
	w.IsWell()
	s.Hall.WantNobodyLeft(t)
}
