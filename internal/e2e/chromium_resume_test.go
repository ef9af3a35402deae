package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-chime/chime"
)

// What befalls a page of a browser, and what the other page in the room sees of
// it: nothing within the grace period, one leave beyond it, and either way each
// message once and in the one order of the topic.
//
// Within the grace period the topic has no history: what was missed can come
// from nowhere but the client socket.
func TestChromiumComesBack(t *testing.T) {
	b := browse(t)
	home := b.open(t, "about:blank") // a browser ends with its last window
	patient := openSite(t, chime.WithGrace(2*patience))
	strict := openSite(t, chime.WithGrace(time.Second))
	for _, c := range []struct {
		name       string
		site       *site
		topic      string
		transports []string
		play       func(t *testing.T, ada, bob *talker)
	}{
		{"offline within grace", patient, "quiet", everyTransport, playOffline},
		{"offline beyond grace", strict, "room", everyTransport, playOfflineTooLong},
		{"offline without a word", patient, "quiet", eitherTransport, playSilence},
		{"frozen within grace", patient, "quiet", eitherTransport, playFrozen},
		{"frozen beyond grace", strict, "room", eitherTransport, playFrozenTooLong},
		{"back and forward within grace", patient, "quiet", everyTransport, playBack},
		{"back beyond grace", strict, "room", eitherTransport, playBackTooLate},
		{"reloaded and closed", patient, "room", everyTransport, playReload},
		{"moved in mid conversation", patient, "quiet", []string{"websocket"}, playMoves},
	} {
		for _, transport := range c.transports {
			t.Run(c.name+" on "+transport, func(t *testing.T) {
				topic := c.topic + ":" + strings.ReplaceAll(t.Name(), "/", "-")
				home.front(t)
				ada := c.site.talk(t, b, topic, "Ada", transport)
				bob := c.site.talk(t, b, topic, "Bob", transport)
				ada.hears(t, "Bob has come")
				c.play(t, ada, bob)
				ada.wantStayed(t)
				if errs := b.uncaught(t); len(errs) > 0 {
					t.Errorf("a page's script failed: %q", errs)
				}
			})
		}
	}
}

var (
	eitherTransport = []string{"websocket", "sse"}
	everyTransport  = []string{"websocket", "sse", "auto"}
)

func playOffline(t *testing.T, ada, bob *talker) {
	ada.says(t, 2)
	bob.says(t, 2)

	bob.loses(t)
	bob.say(t, 2)
	ada.says(t, 2)

	bob.regains(t)
	bob.hears(t, "Bob 4")
	ada.says(t, 1)
	bob.says(t, 1)
	ada.hears(t, "Bob 5")

	said := []string{"Ada 1", "Ada 2", "Bob 1", "Bob 2", "Ada 3", "Ada 4", "Bob 3", "Bob 4", "Ada 5", "Bob 5"}
	ada.wantHeard(t, append([]string{"Bob has come"}, said...)...)
	bob.wantHeard(t, said...)
	ada.wantAnswered(t, 5)
	bob.wantAnswered(t, 5)
	bob.wantStayed(t)
}

func playOfflineTooLong(t *testing.T, ada, bob *talker) {
	ada.says(t, 2)
	bob.says(t, 2)

	bob.loses(t)
	bob.say(t, 1) // waits for the next join
	ada.says(t, 1)
	ada.hears(t, "Bob has left the chat: vanished")
	ada.says(t, 1)

	bob.regains(t)
	bob.joins(t, 2)
	bob.wantRecovered(t)
	bob.hears(t, "Bob 3")
	ada.says(t, 1)
	bob.hears(t, "Ada 5")

	ada.wantHeard(t, "Bob has come", "Ada 1", "Ada 2", "Bob 1", "Bob 2", "Ada 3",
		"Bob has left the chat: vanished", "Ada 4", "Bob has come", "Bob 3", "Ada 5")
	bob.wantHeard(t, "Ada 1", "Ada 2", "Bob 1", "Bob 2", "Ada 3", "Ada 4", "Bob 3", "Ada 5")
	ada.wantAnswered(t, 5)
	bob.wantAnswered(t, 3)
}

// Neither side is told that the connection is dead: to the server it carries
// the client until the next one does.
func playSilence(t *testing.T, ada, bob *talker) {
	bob.says(t, 1)

	bob.cable.fallSilent()
	bob.say(t, 2)
	ada.says(t, 2)
	bob.online(t, false)
	bob.wait(t, "to be offline", "!navigator.onLine")
	bob.say(t, 1)

	bob.cable.up()
	bob.online(t, true)
	bob.hears(t, "Bob 4")
	ada.says(t, 1)
	bob.hears(t, "Ada 3")

	said := []string{"Bob 1", "Ada 1", "Ada 2", "Bob 2", "Bob 3", "Bob 4", "Ada 3"}
	ada.wantHeard(t, append([]string{"Bob has come"}, said...)...)
	bob.wantHeard(t, said...)
	bob.wantAnswered(t, 4)
	bob.wantStayed(t)
}

// A page that was frozen to save power goes on where it was, whether or not its
// connection is still there.
func playFrozen(t *testing.T, ada, bob *talker) {
	bob.says(t, 1)

	bob.freezes(t)
	ada.says(t, 2)
	bob.thaws(t)
	bob.says(t, 1)

	bob.freezes(t)
	ada.says(t, 1)
	bob.cable.cut()
	ada.says(t, 1)
	bob.thaws(t)
	bob.says(t, 1)
	ada.hears(t, "Bob 3")

	said := []string{"Bob 1", "Ada 1", "Ada 2", "Bob 2", "Ada 3", "Ada 4", "Bob 3"}
	ada.wantHeard(t, append([]string{"Bob has come"}, said...)...)
	bob.wantHeard(t, said...)
	ada.wantAnswered(t, 4)
	bob.wantAnswered(t, 3)
	bob.wantStayed(t)
}

func playFrozenTooLong(t *testing.T, ada, bob *talker) {
	bob.says(t, 1)

	bob.freezes(t)
	bob.cable.cut()
	ada.says(t, 1)
	ada.hears(t, "Bob has left the chat: vanished")
	ada.says(t, 1)
	bob.thaws(t)
	bob.joins(t, 2)
	bob.wantRecovered(t)
	bob.says(t, 1)
	ada.hears(t, "Bob 2")

	ada.wantHeard(t, "Bob has come", "Bob 1", "Ada 1", "Bob has left the chat: vanished", "Ada 2", "Bob has come", "Bob 2")
	bob.wantHeard(t, "Bob 1", "Ada 1", "Ada 2", "Bob 2")
	bob.wantAnswered(t, 2)
}

// A page that Chromium keeps for the back button is still in the room, though it
// has no connection.
func playBack(t *testing.T, ada, bob *talker) {
	bob.says(t, 1)

	bob.turns(t)
	ada.says(t, 2)
	bob.returns(t, 1)
	bob.says(t, 1)

	bob.must(t, http.MethodPost, "/forward", nil, nil)
	ada.says(t, 1)
	bob.returns(t, 2)
	bob.says(t, 1)
	ada.hears(t, "Bob 3")

	said := []string{"Bob 1", "Ada 1", "Ada 2", "Bob 2", "Ada 3", "Bob 3"}
	ada.wantHeard(t, append([]string{"Bob has come"}, said...)...)
	bob.wantHeard(t, said...)
	bob.wantAnswered(t, 3)
	bob.wantStayed(t)
}

func playBackTooLate(t *testing.T, ada, bob *talker) {
	bob.says(t, 1)

	bob.turns(t)
	ada.says(t, 1)
	ada.hears(t, "Bob has left the chat: vanished")
	bob.returns(t, 1)
	bob.joins(t, 2)
	bob.wantRecovered(t)
	bob.says(t, 1)
	ada.hears(t, "Bob 2")

	ada.wantHeard(t, "Bob has come", "Bob 1", "Ada 1", "Bob has left the chat: vanished", "Bob has come", "Bob 2")
	bob.wantHeard(t, "Bob 1", "Ada 1", "Bob 2")
	bob.wantAnswered(t, 2)
}

// A page that goes for good says so, and nobody waits for it: the grace period
// here is longer than the test's patience.
func playReload(t *testing.T, ada, bob *talker) {
	bob.says(t, 1)

	bob.reloads(t)
	bob.joins(t, 1)
	bob.hears(t, "Bob 1") // history: it is a new page
	ada.says(t, 1)
	bob.hears(t, "Ada 1")
	bob.wantHeard(t, "Bob 1", "Ada 1")

	bob.close(t)
	ada.wait(t, "to hear of the second leave", "heard.filter((text) => text === 'Bob has left the chat: closed').length === 2")
	ada.wantHeard(t, "Bob has come", "Bob 1",
		"Bob has left the chat: closed", "Bob has come", "Ada 1", "Bob has left the chat: closed")
}

// Both speak without a pause while one is moved from transport to transport,
// and once more while its network breaks.
func playMoves(t *testing.T, ada, bob *talker) {
	both := []*talker{ada, bob}
	for _, k := range both {
		k.chats(t)
	}
	goOn := func() {
		t.Helper()
		for _, k := range both {
			var said int
			k.run(t, "return said", &said)
			for _, other := range both {
				other.hears(t, fmt.Sprintf("%s %d", k.who, said+20))
			}
		}
	}
	for _, transport := range []string{"sse", "websocket", "sse", "websocket"} {
		bob.run(t, "socket.force(arguments[0])", nil, transport)
		bob.wait(t, "to have moved", "socket.transport === arguments[0]", transport)
		goOn()
	}
	bob.run(t, "socket.force('sse')", nil)
	bob.cable.cut()
	bob.wait(t, "to have moved", "socket.transport === 'sse'")
	goOn()

	numbers := map[string]int{"Ada": ada.isQuiet(t), "Bob": bob.isQuiet(t)}
	for _, k := range both {
		for who, n := range numbers {
			k.hears(t, fmt.Sprintf("%s %d", who, n))
		}
		k.wantAnswered(t, numbers[k.who])
	}
	said := bob.heard(t)
	ada.wantHeard(t, append([]string{"Bob has come"}, said...)...) // as Bob: one order for both
	for who, n := range numbers {
		var want []string
		for i := range n {
			want = append(want, fmt.Sprintf("%s %d", who, i+1))
		}
		others := func(text string) bool { return !strings.HasPrefix(text, who+" ") }
		if got := slices.DeleteFunc(slices.Clone(said), others); !slices.Equal(got, want) {
			t.Errorf("of %s was heard %q, want %q", who, got, want)
		}
	}
	bob.wantStayed(t)
}
