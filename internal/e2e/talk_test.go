package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"testing"
)

// talkPage is a page that joins the topic of its URL as it loads, and writes
// down all that it is told. An application would do no more about its
// connection.
const talkPage = `<!doctype html><meta charset=utf-8><title>talk</title>
<ol></ol>
<script type="module">
import { Socket } from "/socket/chime.js"
const { topic, who, transport } = Object.fromEntries(new URLSearchParams(location.search))
Object.assign(window, { heard: [], answered: [], failed: [], joins: 0, gaps: 0, freezes: 0, carriers: [], shows: [] })
const hear = (text) => {
	heard.push(text)
	document.querySelector("ol").append(Object.assign(document.createElement("li"), { textContent: text }))
}
document.addEventListener("freeze", () => freezes++)
addEventListener("pageshow", ({ persisted }) => shows.push(persisted))
window.socket = new Socket("/socket", { token: who, transport })
socket.on("transport", (name) => name && carriers.push(name))
window.room = socket.channel(topic)
room.on("message_new", (m) => hear(m.who + " " + m.n))
room.on("came", (m) => hear(m.who + " has come"))
room.on("went", (m) => hear(m.who + " has left the chat: " + m.why))
room.onState((state) => { if (state === "joined") joins++ })
room.onGap(() => gaps++)
window.said = 0
window.say = (times) => {
	for (; times > 0; times--) {
		const n = ++said
		room.push("message_new", { who, n }).then(() => answered.push(n), ({ code }) => failed.push(n + " " + code))
	}
}
room.join()
socket.connect()
</script>`

func answerTalk(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	_, _ = io.WriteString(w, talkPage)
}

// talker is a talkPage whose network is its own.
type talker struct {
	*page
	cable *cable
	who   string
}

// talk opens a page on a topic and waits until it has joined. It is closed with
// the test.
func (s *site) talk(t testing.TB, b *browser, topic, who, transport string) *talker {
	t.Helper()
	line := lay(t, s.cable.to)
	query := url.Values{"topic": {topic}, "who": {who}, "transport": {transport}}
	k := &talker{b.open(t, "http://"+line.addr+"/talk?"+query.Encode()), line, who}
	t.Cleanup(func() {
		if b.do(http.MethodPost, "/window", map[string]string{"handle": k.handle}, nil) == nil { // else the test has closed it
			_ = b.do(http.MethodDelete, "/window", nil, nil)
		}
		b.current = ""
	})
	k.joins(t, 1)
	return k
}

// joins waits until the page has been joined for the n-th time since it was loaded.
func (k *talker) joins(t testing.TB, n int) {
	t.Helper()
	k.wait(t, "to have joined", "window.joins === arguments[0] && room.state === 'joined' && socket.state === 'open'", n)
}

// wait is until, and says what the page knows if it waits in vain.
func (k *talker) wait(t testing.TB, what, expression string, args ...any) {
	t.Helper()
	poll(t, k.who+" "+what, func() (yes bool) {
		t.Helper()
		k.run(t, "return Boolean("+expression+")", &yes, args...)
		return yes
	}, func() string {
		t.Helper()
		var all json.RawMessage
		k.run(t, `
			const { heard, answered, failed, joins, carriers, shows, socket, room } = window
			return { url: location.href, heard, answered, failed, joins, carriers, shows, socket: socket?.state, room: room?.state }`, &all)
		return string(all)
	})
}

// say sends the next n messages, numbered from 1 since the page was loaded.
func (k *talker) say(t testing.TB, n int) {
	t.Helper()
	k.run(t, "say(arguments[0])", nil, n)
}

// says sends n messages and waits until they are answered.
func (k *talker) says(t testing.TB, n int) {
	t.Helper()
	var want int
	k.run(t, "const want = answered.length + arguments[0]; say(arguments[0]); return want", &want, n)
	k.wait(t, "to be answered", "answered.length === arguments[0]", want)
}

// hears waits until the page was told.
func (k *talker) hears(t testing.TB, text string) {
	t.Helper()
	k.wait(t, "to hear "+text, "heard.includes(arguments[0])", text)
}

func (k *talker) heard(t testing.TB) (texts []string) {
	t.Helper()
	k.run(t, "return heard", &texts)
	return texts
}

// wantHeard checks all that the page was told, in order.
func (k *talker) wantHeard(t testing.TB, want ...string) {
	t.Helper()
	if got := k.heard(t); !slices.Equal(got, want) {
		t.Errorf("%s heard %q, want %q", k.who, got, want)
	}
}

// wantAnswered checks that each message of the page was answered, in order, and
// none was failed.
func (k *talker) wantAnswered(t testing.TB, n int) {
	t.Helper()
	var got struct {
		Answered []int
		Failed   []string
	}
	k.run(t, "return { answered, failed }", &got)
	if len(got.Failed) > 0 {
		t.Errorf("pushes of %s failed: %q", k.who, got.Failed)
	}
	if !slices.Equal(got.Answered, count(1, n)) {
		t.Errorf("answered to %s: got %v, want 1 to %d", k.who, got.Answered, n)
	}
}

// wantStayed checks that the page noticed nothing of what its connections did.
func (k *talker) wantStayed(t testing.TB) {
	t.Helper()
	var got struct{ Joins, Gaps int }
	k.run(t, "return { joins, gaps }", &got)
	if got.Joins != 1 || got.Gaps != 0 {
		t.Errorf("%s: got %d joins and %d gaps, want to have joined once", k.who, got.Joins, got.Gaps)
	}
}

// wantRecovered checks that the last join went on without a gap, as did all before.
func (k *talker) wantRecovered(t testing.TB) {
	t.Helper()
	var got struct {
		Recovered *bool
		Gaps      int
	}
	k.run(t, "return { recovered: room.recovered, gaps }", &got)
	if got.Recovered == nil || !*got.Recovered || got.Gaps != 0 {
		t.Errorf("%s: got recovered %v and %d gaps, want to have missed nothing", k.who, got.Recovered, got.Gaps)
	}
}

// loses takes the page's network away, in the browser's eyes too, and waits
// until the page has noticed.
func (k *talker) loses(t testing.TB) {
	t.Helper()
	k.online(t, false)
	// Chromium's own switch may leave open what is open.
	k.cable.down()
	k.wait(t, "to notice that the network is gone", "socket.state === 'connecting' && !navigator.onLine")
}

func (k *talker) regains(t testing.TB) {
	t.Helper()
	k.cable.up()
	k.online(t, true)
	k.wait(t, "to be back", "socket.state === 'open'")
}

func (k *talker) online(t testing.TB, yes bool) {
	t.Helper()
	k.devtools(t, "Network.enable", map[string]any{})
	k.devtools(t, "Network.emulateNetworkConditions",
		map[string]any{"offline": !yes, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1})
}

// freezes stops the page as a browser does to save power, until thaws.
func (k *talker) freezes(t testing.TB) {
	t.Helper()
	var before int
	k.run(t, "return freezes", &before)
	k.devtools(t, "Page.setWebLifecycleState", map[string]any{"state": "frozen"})
	k.wait(t, "to be frozen", "freezes > arguments[0]", before)
}

func (k *talker) thaws(t testing.TB) {
	t.Helper()
	k.devtools(t, "Page.setWebLifecycleState", map[string]any{"state": "active"})
}

// turns to another page of the site.
func (k *talker) turns(t testing.TB) {
	t.Helper()
	k.load(t, "http://"+k.cable.addr+"/")
}

// returns presses the back button, and wants the page that was left, not one
// loaded anew.
func (k *talker) returns(t testing.TB, n int) {
	t.Helper()
	k.front(t)
	k.must(t, http.MethodPost, "/back", nil, nil)
	k.wait(t, "to be shown again", "window.shows?.filter((persisted) => persisted).length === arguments[0]", n)
}

// chats has the page send without a pause, until it is quiet.
func (k *talker) chats(t testing.TB) {
	t.Helper()
	k.run(t, "window.chat = setInterval(() => say(1), 10)", nil)
}

func (k *talker) isQuiet(t testing.TB) (said int) {
	t.Helper()
	k.run(t, "clearInterval(window.chat); return said", &said)
	k.wait(t, "to be answered", "answered.length + failed.length === said")
	return said
}

func (k *talker) reloads(t testing.TB) {
	t.Helper()
	k.front(t)
	k.must(t, http.MethodPost, "/refresh", nil, nil)
}

// count returns from to to, both included.
func count(from, to int) (numbers []int) {
	for n := from; n <= to; n++ {
		numbers = append(numbers, n)
	}
	return numbers
}
