package chime_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
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
	s := newSite(t)
	w := s.witness(t)
	ws := s.phoenix(t)
	for name, bad := range badNames {
		t.Run(name, func(t *testing.T) {
			topic := jsonString("hall:" + bad)
			unmatched := topic + `,"phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`
			ws.text(`["1","1",` + topic + `,"phx_join",{}]`)
			ws.want(`[null,"1",` + unmatched)
			ws.text(`["1","2",` + topic + `,"say",{}]`)
			ws.want(`[null,"2",` + unmatched)
			ws.text(`["1","3",` + topic + `,"phx_leave",{}]`)
			ws.want(`["1","3",` + topic + `,"phx_reply",{"status":"ok","response":{}}]`)
			es := s.bare(t, "join="+url.QueryEscape("hall:"+bad))
			es.want(`[null,"1",` + unmatched)
			w.isWell()
		})
	}
	t.Run("no UTF-8", func(t *testing.T) { // only a URL can say this: a frame is checked before
		es := s.bare(t, "join=hall:%ff")
		es.want(`[null,"1","hall:\ufffd","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`)
		w.isWell()
	})
	t.Run("255 bytes are allowed", func(t *testing.T) {
		ws.join("hall:"+strings.Repeat("x", 250), "somebody")
	})
	s.hall.wantNobodyLeft(t)
}

func jsonString(s string) string {
	text, _ := json.Marshal(s) // a string always encodes
	return string(text)
}

func TestBadEventIsRefusedAndReachesNoHandler(t *testing.T) {
	s := newSite(t)
	w := s.witness(t)
	ws := s.phoenix(t).join("hall:1", "attacker")
	for name, bad := range badNames {
		t.Run(name, func(t *testing.T) {
			ws.text(`["1","2","hall:1",` + jsonString(bad) + `,{}]`)
			ws.want(`["1","2","hall:1","phx_reply",{"status":"error","response":{"reason":"invalid event"}}]`)
			w.isWell()
			ws.want(tick(w.n))
		})
	}
	for _, reserved := range []string{"", "phx_reply", "phx_error", "phx_close", "phx_anything"} {
		ws.text(`["1","3","hall:1","` + reserved + `",{}]`)
		ws.want(`["1","3","hall:1","phx_reply",{"status":"error","response":{"reason":"invalid event"}}]`)
	}
	w.isWell()
	s.hall.wantNobodyLeft(t)
}

// TestTopicsOfTheConnectionAreNobodysToJoin: frames on them tell chime.js what
// the server wants, even where a pattern matches everything.
func TestTopicsOfTheConnectionAreNobodysToJoin(t *testing.T) {
	s := newSite(t)
	s.live.Channel("*", s.hall)
	w := s.witness(t)
	ws := s.phoenix(t)
	for _, topic := range []string{"chime", "phoenix"} {
		ws.text(`["1","1","` + topic + `","phx_join",{"as":"attacker"}]`)
		ws.want(`[null,"1","` + topic + `","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`)
		es := s.bare(t, "join="+topic)
		es.want(`[null,"1","` + topic + `","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`)
		if err := s.live.Broadcast(t.Context(), topic, "drain", nil); err == nil {
			t.Errorf("Broadcast to %s: got no error", topic)
		}
	}
	cs, _ := s.chime(t)
	cs.text(`["1","1","chime","phx_join",{}]`) // not for the channels, and no frame to answer
	cs.text(`[null,"2","phoenix","heartbeat",{}]`)
	cs.want(`[null,"2","phoenix","phx_reply",{"status":"ok","response":{}}]`)
	w.isWell()
	s.hall.wantNobodyLeft(t)
}
