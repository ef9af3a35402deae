package e2e

import (
	"testing"

	"github.com/go-chime/chime/internal/need"
)

// What only a browser insists on: that the subprotocol is answered, that a
// module is served as one, that fetch streams and sends a last goodbye.
func TestPhoenixClientInChromium(t *testing.T) {
	need.Path(t, "node_modules/phoenix", "run make deps")
	s := openSite(t)
	b := browse(t)
	for _, carrier := range carriers {
		t.Run(carrier, func(t *testing.T) {
			topic := "room:chromium-" + carrier
			p := b.open(t, s.url+"/")
			p.run(t, `
				const [carrier, topic] = arguments
				window.heard = []
				window.joins = []
				Promise.all([import("/npm/phoenix/priv/static/phoenix.mjs"), import("/socket/phoenix-stream.js")]).then(([{ Socket, LongPoll }, { ChimeStream }]) => {
					const transport = { websocket: WebSocket, stream: ChimeStream, longpoll: LongPoll }[carrier]
					window.socket = new Socket("/socket", { transport, authToken: "Ada's own", params: { mark: topic } })
					let since = null
					window.channel = socket.channel(topic, () => (since ? { "@since": since } : { "@last": 10 }))
					channel.on("message_new", (payload, ref) => {
						since = { ...since, offset: Number(ref.slice(1)) }
						heard.push(payload.n)
					})
					channel.join().receive("ok", ({ you, "@history": { epoch, offset, recovered } }) => {
						if (!since) since = { epoch, offset }
						joins.push({ you, recovered })
					})
					socket.onClose(({ code }) => { window.code = code })
					socket.connect()
				})`, nil, carrier, topic)
			p.until(t, "the join", `window.joins?.length === 1 && joins[0].you === "Ada's own"`)
			p.run(t, `for (const n of [1, 2, 3]) channel.push("message_new", { n }).receive("ok", () => { window.replied = n })`, nil)
			p.until(t, "the replies", "window.replied === 3 && heard.join() === '1,2,3'")
			p.run(t, `
				channel.push("echo", Uint8Array.of(0, 255, 7).buffer).receive("ok", (bytes) => {
					const text = bytes["@binary"] // so they come by a poll
					window.bytes = [...(text ? Uint8Array.from(atob(text), (char) => char.charCodeAt(0)) : new Uint8Array(bytes))].join()
				})`, nil)
			p.until(t, "the bytes", "window.bytes === '0,255,7'")

			s.cable.down() // until it has noticed: a poll may be between two requests
			p.until(t, "the end of the connection", "window.code")
			s.cable.up()
			p.until(t, "the second join", "joins.length === 2 && joins[1].recovered === true")
			p.run(t, `channel.push("message_new", { n: 4 })`, nil)
			p.until(t, "what came after, once", "heard.join() === '1,2,3,4' && window.code !== 1000")

			// A page that goes says goodbye, so nobody waits for a timeout; but for one that polls, for which phoenix.js has no word.
			p.load(t, "about:blank")
			poll(t, "the page's leave", func() bool {
				members, err := s.router().Members(t.Context(), topic)
				return len(members) == 0 && err == nil
			}, func() string { return "" })
		})
	}
	if errs := b.uncaught(t); len(errs) > 0 {
		t.Errorf("a script failed: %q", errs)
	}
}
